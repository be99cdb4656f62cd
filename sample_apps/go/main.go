// A small web application on Go's standard library: what a service of App Runner looks like.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"html"
	"log"
	"math"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

//go:embed version.txt
var versionFile string

var version = strings.TrimSpace(versionFile)

const form = `<!doctype html>
<title>Go on App Runner</title>
<form method="post"><label>Your name <input name="name"></label> <button>Greet</button></form>
`

func main() {
	routes := http.NewServeMux()
	routes.HandleFunc("/", index)
	routes.HandleFunc("/version", say(version+"\n"))
	routes.HandleFunc("/healthz", say("ok\n"))
	routes.HandleFunc("/form", greet)
	routes.HandleFunc("/slow", slow)
	routes.HandleFunc("/cpu", cpu)
	routes.HandleFunc("/json", facts)

	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	server := &http.Server{Addr: ":" + port, Handler: routes}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		stopOnSignal(server)
	}()
	log.Printf("version %s listens on port %s", version, port)
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	<-stopped
}

// stopOnSignal waits until requests in flight are finished.
func stopOnSignal(server *http.Server) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	<-signals
	if err := server.Shutdown(context.Background()); err != nil {
		log.Print(err)
	}
}

func say(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
}

func index(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintln(w, "There is nothing here.")
		return
	}
	fmt.Fprintf(w, "Hello from Go, version %s!\n", version)
}

func greet(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if r.Method == http.MethodPost {
		fmt.Fprintf(w, "<p>Hello, %s!\n", html.EscapeString(r.FormValue("name")))
		return
	}
	fmt.Fprint(w, form)
}

func slow(w http.ResponseWriter, r *http.Request) {
	time.Sleep(seconds(r, 1, 30))
	fmt.Fprintf(w, "slow, from version %s\n", version)
}

func cpu(w http.ResponseWriter, r *http.Request) {
	for end := time.Now().Add(seconds(r, 0.5, 10)); time.Now().Before(end); {
	}
	fmt.Fprintln(w, "done")
}

func seconds(r *http.Request, usual, most float64) time.Duration {
	asked, err := strconv.ParseFloat(r.FormValue("seconds"), 64)
	if err != nil {
		asked = usual
	}
	return time.Duration(math.Max(0, math.Min(asked, most)) * float64(time.Second))
}

func facts(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]string{
		"version": version, "language": runtime.Version(), "host": r.Host,
	})
}
