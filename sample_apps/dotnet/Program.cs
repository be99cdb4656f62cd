// A small web application without packages: what a service of App Runner looks like.
using System.Diagnostics;
using System.Globalization;
using System.Net;

const string form =
    "<!doctype html>\n<title>.NET on App Runner</title>\n<form method=\"post\"><label>Your name "
    + "<input name=\"name\"></label> <button>Greet</button></form>\n";

var version = File.ReadAllText("version.txt").Trim();
var port = Environment.GetEnvironmentVariable("PORT") ?? "8080";
var builder = WebApplication.CreateBuilder(args);
builder.WebHost.UseUrls($"http://0.0.0.0:{port}");
var app = builder.Build(); // on SIGTERM it finishes what it began

app.MapGet("/", () => $"Hello from .NET, version {version}!\n");
app.MapGet("/version", () => version + "\n");
app.MapGet("/healthz", () => "ok\n");
app.MapGet("/form", () => Results.Content(form, "text/html; charset=utf-8"));
app.MapPost("/form", async (HttpRequest request) =>
{
    var name = (await request.ReadFormAsync())["name"].ToString();
    return Results.Content($"<p>Hello, {WebUtility.HtmlEncode(name)}!\n", "text/html; charset=utf-8");
});
app.MapGet("/slow", async (HttpRequest request) =>
{
    await Task.Delay(TimeSpan.FromSeconds(Seconds(request, 1, 30)));
    return $"slow, from version {version}\n";
});
app.MapGet("/cpu", (HttpRequest request) =>
{
    var time = Stopwatch.StartNew();
    var seconds = Seconds(request, 0.5, 10);
    while (time.Elapsed.TotalSeconds < seconds)
    {
    }
    return "done\n";
});
app.MapGet("/json", (HttpRequest request) => new
{
    version,
    language = $"dotnet{Environment.Version}",
    host = request.Host.ToString(),
});
app.MapFallback((HttpResponse response) =>
{
    response.StatusCode = 404;
    return "There is nothing here.\n";
});

Console.WriteLine($"version {version} listens on port {port}");
app.Run();

static double Seconds(HttpRequest request, double usual, double most)
{
    var asked = double.TryParse(
        request.Query["seconds"], NumberStyles.Float, CultureInfo.InvariantCulture, out var number)
        ? number
        : usual;
    return Math.Clamp(asked, 0, most);
}
