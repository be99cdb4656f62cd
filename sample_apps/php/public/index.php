<?php
// Every request that no file of this folder answers comes here.

declare(strict_types=1);

require __DIR__ . '/../vendor/autoload.php';

$version = trim(file_get_contents(__DIR__ . '/../version.txt'));
(new Sample\Application($version))->answer(
    $_SERVER['REQUEST_METHOD'],
    parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH) ?: '/',
);
