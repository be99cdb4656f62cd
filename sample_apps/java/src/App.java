import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;

/** A small web application on the JDK alone: what a service of App Runner looks like. */
public final class App {
    private static final String FORM =
            "<!doctype html>\n<title>Java on App Runner</title>\n<form method=\"post\"><label>Your name "
                    + "<input name=\"name\"></label> <button>Greet</button></form>\n";

    private final String version;

    private App(String version) {
        this.version = version;
    }

    public static void main(String[] arguments) throws IOException {
        String version = new String(Files.readAllBytes(Paths.get("version.txt")), StandardCharsets.UTF_8).trim();
        String port = System.getenv().getOrDefault("PORT", "8080");
        HttpServer server = HttpServer.create(new InetSocketAddress(Integer.parseInt(port)), 128);
        ExecutorService requests = Executors.newFixedThreadPool(32);
        server.setExecutor(requests);
        server.createContext("/", new App(version)::handle);
        server.start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> finish(requests)));
        System.out.println("version " + version + " listens on port " + port);
    }

    /** What is in flight comes to its end before the process does. */
    private static void finish(ExecutorService requests) {
        requests.shutdown();
        try {
            requests.awaitTermination(30, TimeUnit.SECONDS);
        } catch (InterruptedException interruption) {
            Thread.currentThread().interrupt();
        }
    }

    private void handle(HttpExchange exchange) throws IOException {
        String path = exchange.getRequestURI().getPath();
        switch (path) {
            case "/":
                say(exchange, 200, "text/plain", "Hello from Java, version " + version + "!\n");
                break;
            case "/version":
                say(exchange, 200, "text/plain", version + "\n");
                break;
            case "/healthz":
                say(exchange, 200, "text/plain", "ok\n");
                break;
            case "/form":
                greet(exchange);
                break;
            case "/slow":
                sleep(seconds(exchange, 1, 30));
                say(exchange, 200, "text/plain", "slow, from version " + version + "\n");
                break;
            case "/cpu":
                spin(seconds(exchange, 0.5, 10));
                say(exchange, 200, "text/plain", "done\n");
                break;
            case "/json":
                say(exchange, 200, "application/json", facts(exchange));
                break;
            default:
                say(exchange, 404, "text/plain", "There is nothing here.\n");
        }
    }

    private void greet(HttpExchange exchange) throws IOException {
        boolean sent = exchange.getRequestMethod().equals("POST");
        String name = sent ? escaped(field(body(exchange), "name")) : "";
        say(exchange, 200, "text/html", sent ? "<p>Hello, " + name + "!\n" : FORM);
    }

    private String facts(HttpExchange exchange) {
        String host = exchange.getRequestHeaders().getFirst("Host");
        return String.format(
                "{\"version\": \"%s\", \"language\": \"java%s\", \"host\": \"%s\"}%n",
                version, System.getProperty("java.version"), host);
    }

    private static void say(HttpExchange exchange, int status, String type, String text) throws IOException {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", type + "; charset=utf-8");
        exchange.sendResponseHeaders(status, bytes.length);
        exchange.getResponseBody().write(bytes);
        exchange.close();
    }

    private static String body(HttpExchange exchange) throws IOException {
        ByteArrayOutputStream read = new ByteArrayOutputStream();
        byte[] buffer = new byte[8192];
        InputStream stream = exchange.getRequestBody();
        for (int size = stream.read(buffer); size >= 0; size = stream.read(buffer)) {
            read.write(buffer, 0, size);
        }
        return read.toString("UTF-8");
    }

    /** Of a form, or of the part of a URL after the question mark. */
    private static String field(String form, String name) throws IOException {
        for (String pair : (form == null ? "" : form).split("&")) {
            if (pair.startsWith(name + "=")) {
                return URLDecoder.decode(pair.substring(name.length() + 1), "UTF-8");
            }
        }
        return "";
    }

    private static double seconds(HttpExchange exchange, double usual, double most) throws IOException {
        String asked = field(exchange.getRequestURI().getQuery(), "seconds");
        return Math.max(0, Math.min(asked.isEmpty() ? usual : Double.parseDouble(asked), most));
    }

    private static void sleep(double seconds) {
        try {
            Thread.sleep((long) (seconds * 1000));
        } catch (InterruptedException interruption) {
            Thread.currentThread().interrupt();
        }
    }

    private static void spin(double seconds) {
        long end = System.nanoTime() + (long) (seconds * 1e9);
        while (System.nanoTime() < end) {
            Thread.yield();
        }
    }

    private static String escaped(String text) {
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\"", "&quot;");
    }
}
