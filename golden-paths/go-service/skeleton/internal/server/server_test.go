package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"services.internal/${{ values.name }}/internal/env"
	"services.internal/${{ values.name }}/internal/health"
	"services.internal/${{ values.name }}/internal/telemetry"
)

// app is a small API with a request that stays open until it is released.
type app struct{ entered, release chan struct{} }

func (a app) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /items/{id}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /panic", func(http.ResponseWriter, *http.Request) { panic("boom") })
	mux.HandleFunc("POST /read", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
	})
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, _ *http.Request) {
		close(a.entered)
		<-a.release
		fmt.Fprint(w, "done")
	})
}

type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) parsed(t *testing.T) []map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []map[string]any
	for _, line := range strings.Split(strings.TrimSpace(l.buf.String()), "\n") {
		var one map[string]any
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, one)
	}
	return all
}

type running struct {
	app, admin string
	logs       *lines
	routes     app
	stop       context.CancelFunc
	ended      chan error
}

func start(t *testing.T) running {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	r := running{logs: &lines{}, routes: app{make(chan struct{}), make(chan struct{})}, stop: stop, ended: make(chan error, 1)}
	logger := telemetry.NewLogger(r.logs, "svc", "test", slog.LevelInfo)
	ready := make(chan [2]string, 1)
	go func() {
		r.ended <- Run(ctx, Options{
			Config:    env.Config{HTTPAddress: "127.0.0.1:0", AdminAddress: "127.0.0.1:0", DrainTimeout: time.Minute},
			Logger:    logger,
			Metrics:   telemetry.NewMetrics("test", "none"),
			Health:    health.New(),
			Spans:     telemetry.NewExporter("", "svc", "test", logger),
			App:       r.routes,
			Listening: func(app, admin net.Addr) { ready <- [2]string{"http://" + app.String(), "http://" + admin.String()} },
		})
	}()
	select {
	case addresses := <-ready:
		r.app, r.admin = addresses[0], addresses[1]
	case err := <-r.ended:
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return r
}

func get(t *testing.T, url string, header http.Header) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		request.Header = header
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestRequestsAreLoggedAndCounted(t *testing.T) {
	r := start(t)
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	header := http.Header{"Traceparent": {"00-" + trace + "-00f067aa0ba902b7-01"}, "Authorization": {"Bearer s3cret"}}
	if code, _ := get(t, r.app+"/items/7", header); code != 204 {
		t.Fatalf("code %d", code)
	}
	get(t, r.app+"/nowhere/1", nil)
	get(t, r.app+"/nowhere/2", nil)
	_, metrics := get(t, r.admin+"/metrics", nil)
	for _, want := range []string{
		`http_requests_total{code="204",method="GET",route="/items/{id}"} 1`,
		`http_requests_total{code="404",method="GET",route="other"} 2`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("missing %s", want)
		}
	}
	for _, line := range r.logs.parsed(t) {
		if line["route"] != "/items/{id}" {
			continue
		}
		if line["trace_id"] != trace || line["code"] != 204.0 || line["request_id"] == "" || line["duration_ms"] == nil {
			t.Errorf("bad line %v", line)
		}
		if strings.Contains(fmt.Sprint(line), "s3cret") {
			t.Error("a header was logged")
		}
		return
	}
	t.Error("the request was not logged")
}

func TestBodiesAreLimited(t *testing.T) {
	r := start(t)
	answer, err := http.Post(r.app+"/read", "text/plain", bytes.NewReader(make([]byte, MaxBodyBytes+1)))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusRequestEntityTooLarge {
		t.Fatalf("code %d", answer.StatusCode)
	}
}

func TestPanicsBecomeLogLines(t *testing.T) {
	r := start(t)
	get(t, r.app+"/panic", nil)
	if code, _ := get(t, r.app+"/items/1", nil); code != 204 {
		t.Fatalf("the process did not survive: %d", code)
	}
	var seen bool
	for _, line := range r.logs.parsed(t) {
		if line["msg"] == "panic" && line["error"] == "boom" && line["trace_id"] != nil {
			seen = true
		}
	}
	if !seen {
		t.Error("no line about the panic")
	}
}

func TestOpenRequestsAreFinishedBeforeTheEnd(t *testing.T) {
	r := start(t)
	body := make(chan string, 1)
	go func() {
		_, text := get(t, r.app+"/slow", nil)
		body <- text
	}()
	<-r.routes.entered
	if code, _ := get(t, r.admin+"/readyz", nil); code != 200 {
		t.Fatalf("not ready: %d", code)
	}
	r.stop()
	deadline := time.Now().Add(10 * time.Second)
	for code := 0; code != 503; code, _ = get(t, r.admin+"/readyz", nil) {
		if time.Now().After(deadline) {
			t.Fatal("still ready")
		}
	}
	close(r.routes.release)
	if text := <-body; text != "done" {
		t.Errorf("the open request got %q", text)
	}
	if err := <-r.ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestAnAddressInUseIsAnError(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	err = Run(t.Context(), Options{Config: env.Config{HTTPAddress: taken.Addr().String()}, Health: health.New()})
	if err == nil || !strings.Contains(err.Error(), "HTTP_ADDRESS") {
		t.Fatalf("got %v", err)
	}
}
