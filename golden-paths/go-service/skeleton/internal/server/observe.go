package server

import (
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"services.internal/${{ values.name }}/internal/telemetry"
)

// observe gives each request an identity and a body limit, and records its end in logs, metrics and traces.
// Neither bodies nor header values are logged.
func (o Options) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		span := telemetry.StartSpan(r.Header)
		r = r.WithContext(telemetry.WithSpan(r.Context(), span))
		r.Body = http.MaxBytesReader(w, r.Body, MaxBodyBytes)
		w.Header().Set("X-Request-Id", span.RequestID)
		answer := &recorder{ResponseWriter: w}
		o.Metrics.Begin()
		defer func() {
			cause := recover()
			if cause != nil && cause != http.ErrAbortHandler {
				o.Logger.ErrorContext(r.Context(), "panic", "error", fmt.Sprint(cause), "stack", string(debug.Stack()))
				if answer.code == 0 {
					http.Error(answer, "internal error", http.StatusInternalServerError)
				}
			}
			o.finish(r, span, start, answer.status(cause != nil))
			if cause != nil {
				// The connection is closed, so that the caller cannot take a half answer for a whole one.
				panic(http.ErrAbortHandler)
			}
		}()
		next.ServeHTTP(answer, r)
	})
}

func (o Options) finish(r *http.Request, span telemetry.Span, start time.Time, code int) {
	end := time.Now()
	route := route(r)
	o.Metrics.End(r.Method, route, code, end.Sub(start))
	o.Spans.Add(telemetry.Finished{Span: span, Name: r.Method + " " + route, Method: r.Method, Route: route, Code: code, Start: start, End: end})
	o.Logger.InfoContext(r.Context(), "request",
		"method", r.Method,
		"route", route,
		"code", code,
		"duration_ms", float64(end.Sub(start).Microseconds())/1000,
	)
}

// route is the pattern that matched without its method, so that the number of label values stays fixed.
func route(r *http.Request) string {
	pattern := r.Pattern
	if _, path, found := strings.Cut(pattern, " "); found {
		pattern = path
	}
	if pattern == "" {
		return "other"
	}
	return pattern
}

// recorder remembers the status code.
type recorder struct {
	http.ResponseWriter
	code int
}

func (w *recorder) WriteHeader(code int) {
	if w.code == 0 && code >= http.StatusOK {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *recorder) Write(body []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	return w.ResponseWriter.Write(body)
}

// Unwrap lets http.ResponseController reach the real writer.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) status(aborted bool) int {
	switch {
	case w.code != 0:
		return w.code
	case aborted:
		return http.StatusInternalServerError
	}
	return http.StatusOK
}
