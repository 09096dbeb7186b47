package telemetry

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestLogLines(t *testing.T) {
	var out bytes.Buffer
	logger := NewLogger(&out, "svc", "1.2.3", slog.LevelInfo)
	ctx := WithSpan(t.Context(), Span{TraceID: "t", SpanID: "s", RequestID: "r"})
	logger.InfoContext(ctx, "two\r\nlines", "route", "/x")
	if strings.Count(out.String(), "\n") != 1 {
		t.Fatalf("not one line: %q", out.String())
	}
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"level": "INFO", "msg": "two\r\nlines", "service": "svc", "version": "1.2.3", "trace_id": "t", "span_id": "s", "request_id": "r", "route": "/x"} {
		if line[key] != want {
			t.Errorf("%s = %v, want %q", key, line[key], want)
		}
	}
	if stamp, _ := line["time"].(string); !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`).MatchString(stamp) {
		t.Errorf("time = %q", stamp)
	}
}

func TestStartSpan(t *testing.T) {
	const trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	good := []string{"00-" + trace + "-" + parent + "-01", "01-" + trace + "-" + parent + "-01-more"}
	bad := []string{"", "00", "ff-" + trace + "-" + parent + "-01", "00-" + trace + "-" + parent + "-01-more",
		"00-" + strings.Repeat("0", 32) + "-" + parent + "-01", "00-" + trace + "-" + strings.Repeat("0", 16) + "-01",
		"00-" + strings.ToUpper(trace) + "-" + parent + "-01"}
	for _, value := range good {
		span := StartSpan(http.Header{"Traceparent": {value}})
		if span.TraceID != trace || span.ParentID != parent || !span.Sampled || len(span.SpanID) != 16 || span.SpanID == parent {
			t.Errorf("%q: %+v", value, span)
		}
	}
	for _, value := range bad {
		span := StartSpan(http.Header{"Traceparent": {value}})
		if span.TraceID == trace || len(span.TraceID) != 32 || span.ParentID != "" {
			t.Errorf("%q: %+v", value, span)
		}
	}
	if got := StartSpan(http.Header{"X-Request-Id": {"abc-1"}}).RequestID; got != "abc-1" {
		t.Errorf("request id %q", got)
	}
	if got := StartSpan(http.Header{"X-Request-Id": {"a b\n"}}).RequestID; len(got) != 32 {
		t.Errorf("request id %q", got)
	}
}

func TestTransportContinuesTheTrace(t *testing.T) {
	seen := make(chan string, 1)
	remote := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header.Get("Traceparent") }))
	defer remote.Close()
	span := StartSpan(http.Header{})
	request, err := http.NewRequestWithContext(WithSpan(t.Context(), span), http.MethodGet, remote.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := (&http.Client{Transport: Transport{}}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if got := <-seen; got != span.Traceparent() {
		t.Errorf("got %q, want %q", got, span.Traceparent())
	}
}

func TestMetricsBoundTheirLabels(t *testing.T) {
	m := NewMetrics("1.2.3", "abc")
	m.Begin()
	m.End("BREW", "other", 404, time.Millisecond)
	recorder := httptest.NewRecorder()
	m.Handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`http_requests_total{code="404",method="other",route="other"} 1`,
		`http_request_duration_seconds_bucket{code="404",method="other",route="other",le="0.005"} 1`,
		"http_requests_in_flight 0",
		`build_info{commit="abc",version="1.2.3"} 1`,
		"go_goroutines ",
	} {
		if !strings.Contains(recorder.Body.String(), want) {
			t.Errorf("missing %s", want)
		}
	}
}

func TestExporterSendsSampledSpansOnClose(t *testing.T) {
	bodies := make(chan []byte, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/v1/traces" {
			bodies <- body
		}
	}))
	defer collector.Close()
	e := NewExporter(collector.URL, "svc", "1", slog.New(slog.DiscardHandler))
	e.Add(Finished{Span: Span{TraceID: "aa", SpanID: "bb", ParentID: "cc", Sampled: true}, Name: "GET /x", Method: "GET", Route: "/x", Code: 500, Start: time.Unix(1, 0), End: time.Unix(2, 0)})
	e.Add(Finished{Span: Span{TraceID: "unsampled"}})
	e.Close()
	e.Add(Finished{Span: Span{Sampled: true}})
	got := string(<-bodies)
	for _, want := range []string{`"traceId":"aa"`, `"parentSpanId":"cc"`, `"startTimeUnixNano":"1000000000"`, `"intValue":"500"`, `"status":{"code":2}`, `"stringValue":"svc"`} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is missing in %s", want, got)
		}
	}
	if strings.Contains(got, "unsampled") {
		t.Error("an unsampled span was sent")
	}
	NewExporter("", "svc", "1", slog.New(slog.DiscardHandler)).Close()
}
