<?php

declare(strict_types=1);

namespace Sample;

/** A small web application without packages: what a service of App Runner looks like. */
final class Application
{
    private const FORM = <<<'HTML'
        <!doctype html>
        <title>PHP on App Runner</title>
        <form method="post"><label>Your name <input name="name"></label> <button>Greet</button></form>

        HTML;

    public function __construct(private readonly string $version)
    {
    }

    public function answer(string $method, string $path): void
    {
        match ($path) {
            '/' => $this->say("Hello from PHP, version {$this->version}!\n"),
            '/version' => $this->say("{$this->version}\n"),
            '/healthz' => $this->say("ok\n"),
            '/form' => $this->greet($method),
            '/slow' => $this->slow(),
            '/cpu' => $this->cpu(),
            '/json' => $this->facts(),
            default => $this->say("There is nothing here.\n", status: 404),
        };
    }

    private function say(string $text, string $type = 'text/plain; charset=utf-8', int $status = 200): void
    {
        http_response_code($status);
        header("Content-Type: $type");
        echo $text;
    }

    private function greet(string $method): void
    {
        $name = htmlspecialchars((string) ($_POST['name'] ?? ''));
        $this->say($method === 'POST' ? "<p>Hello, $name!\n" : self::FORM, 'text/html; charset=utf-8');
    }

    private function slow(): void
    {
        usleep((int) ($this->seconds(1, 30) * 1_000_000));
        $this->say("slow, from version {$this->version}\n");
    }

    private function cpu(): void
    {
        $end = microtime(true) + $this->seconds(0.5, 10);
        while (microtime(true) < $end) {
        }
        $this->say("done\n");
    }

    private function seconds(float $usual, float $most): float
    {
        return max(0, min((float) ($_GET['seconds'] ?? $usual), $most));
    }

    private function facts(): void
    {
        $facts = ['version' => $this->version, 'language' => 'php' . PHP_VERSION, 'host' => $_SERVER['HTTP_HOST']];
        $this->say(json_encode($facts) . "\n", 'application/json');
    }
}
