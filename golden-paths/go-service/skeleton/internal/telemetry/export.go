package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	exportQueue   = 2048
	exportBatch   = 512
	exportEvery   = 5 * time.Second
	exportTimeout = 10 * time.Second
)

// Finished is the record of a request that has been answered.
type Finished struct {
	Span       Span
	Name       string
	Method     string
	Route      string
	Code       int
	Start, End time.Time
}

// Exporter sends finished spans to a collector as OTLP/HTTP JSON. It never blocks a request: what does not fit
// into its queue is dropped and counted.
type Exporter struct {
	url      string
	resource any
	logger   *slog.Logger
	client   *http.Client
	queue    chan Finished
	done     chan struct{}
	once     sync.Once
	mu       sync.Mutex
	closed   bool
	dropped  int
}

// NewExporter starts an exporter; with an empty endpoint it discards everything.
func NewExporter(endpoint, service, version string, logger *slog.Logger) *Exporter {
	e := &Exporter{logger: logger, done: make(chan struct{})}
	if endpoint == "" {
		close(e.done)
		return e
	}
	e.url = endpoint + "/v1/traces"
	e.client = &http.Client{Timeout: exportTimeout}
	e.resource = object{"attributes": []any{text("service.name", service), text("service.version", version)}}
	e.queue = make(chan Finished, exportQueue)
	go e.run()
	return e
}

// Add takes over a finished span if it was sampled.
func (e *Exporter) Add(span Finished) {
	if e.queue == nil || !span.Span.Sampled {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	select {
	case e.queue <- span:
	default:
		e.dropped++
	}
}

// Close sends what is left, waiting for it at most as long as one request may take.
func (e *Exporter) Close() {
	if e.queue != nil {
		e.once.Do(func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.closed = true
			close(e.queue)
		})
	}
	<-e.done
}

func (e *Exporter) run() {
	defer close(e.done)
	ticker := time.NewTicker(exportEvery)
	defer ticker.Stop()
	var batch []Finished
	for {
		select {
		case span, open := <-e.queue:
			if !open {
				e.send(batch)
				return
			}
			if batch = append(batch, span); len(batch) >= exportBatch {
				e.send(batch)
				batch = nil
			}
		case <-ticker.C:
			e.send(batch)
			batch = nil
		}
	}
}

func (e *Exporter) send(batch []Finished) {
	e.mu.Lock()
	dropped := e.dropped
	e.dropped = 0
	e.mu.Unlock()
	if dropped > 0 {
		e.logger.Warn("spans dropped", "count", dropped)
	}
	if len(batch) == 0 {
		return
	}
	if err := e.post(batch); err != nil {
		e.logger.Warn("spans not exported", "count", len(batch), "error", err.Error())
	}
}

func (e *Exporter) post(batch []Finished) error {
	body, err := json.Marshal(e.document(batch))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), exportTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := e.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<16)); err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("the collector answered %d", answer.StatusCode)
	}
	return nil
}

type object = map[string]any

// document follows the JSON mapping of ExportTraceServiceRequest in https://opentelemetry.io/docs/specs/otlp/:
// identifiers in hex, 64-bit integers as strings, enumerations as numbers (kind 2 = server, status 2 = error).
func (e *Exporter) document(batch []Finished) object {
	spans := make([]any, 0, len(batch))
	for _, s := range batch {
		status := object{}
		if s.Code >= http.StatusInternalServerError {
			status["code"] = 2
		}
		span := object{
			"traceId":           s.Span.TraceID,
			"spanId":            s.Span.SpanID,
			"name":              s.Name,
			"kind":              2,
			"startTimeUnixNano": strconv.FormatInt(s.Start.UnixNano(), 10),
			"endTimeUnixNano":   strconv.FormatInt(s.End.UnixNano(), 10),
			"status":            status,
			"attributes": []any{
				text("http.request.method", s.Method),
				text("http.route", s.Route),
				object{"key": "http.response.status_code", "value": object{"intValue": strconv.Itoa(s.Code)}},
			},
		}
		if s.Span.ParentID != "" {
			span["parentSpanId"] = s.Span.ParentID
		}
		spans = append(spans, span)
	}
	return object{"resourceSpans": []any{object{
		"resource":   e.resource,
		"scopeSpans": []any{object{"scope": object{"name": "http"}, "spans": spans}},
	}}}
}

func text(key, value string) object {
	return object{"key": key, "value": object{"stringValue": value}}
}
