package telemetry

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"
)

// Span identifies the work of one request, in the terms of W3C Trace Context.
type Span struct {
	TraceID   string
	SpanID    string
	ParentID  string
	Sampled   bool
	RequestID string
}

type spanKey struct{}

// WithSpan returns ctx carrying span.
func WithSpan(ctx context.Context, span Span) context.Context {
	return context.WithValue(ctx, spanKey{}, span)
}

// SpanFrom returns the span of ctx.
func SpanFrom(ctx context.Context) (Span, bool) {
	span, ok := ctx.Value(spanKey{}).(Span)
	return span, ok
}

// StartSpan continues the trace of the incoming headers, or begins one when there is none or it is malformed.
func StartSpan(header http.Header) Span {
	span := Span{SpanID: randomHex(8), Sampled: true, RequestID: requestID(header.Get("X-Request-Id"))}
	if values := header.Values("Traceparent"); len(values) == 1 {
		if trace, parent, sampled, ok := parseTraceparent(values[0]); ok {
			span.TraceID, span.ParentID, span.Sampled = trace, parent, sampled
			return span
		}
	}
	span.TraceID = randomHex(16)
	return span
}

// Traceparent is the header for calls made on behalf of the span.
func (s Span) Traceparent() string {
	flags := "00"
	if s.Sampled {
		flags = "01"
	}
	return "00-" + s.TraceID + "-" + s.SpanID + "-" + flags
}

// Transport adds traceparent and request id of the context to outgoing requests.
type Transport struct{ Base http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	base := t.Base
	if base == nil {
		base = http.DefaultTransport
	}
	if span, ok := SpanFrom(r.Context()); ok {
		r = r.Clone(r.Context())
		r.Header.Set("Traceparent", span.Traceparent())
		r.Header.Set("X-Request-Id", span.RequestID)
	}
	return base.RoundTrip(r)
}

// parseTraceparent follows https://www.w3.org/TR/trace-context/#traceparent-header.
func parseTraceparent(value string) (trace, parent string, sampled, ok bool) {
	parts := strings.Split(value, "-")
	if len(parts) < 4 || !isHex(parts[0], 2) || parts[0] == "ff" || (parts[0] == "00" && len(parts) != 4) {
		return "", "", false, false
	}
	if !isHex(parts[1], 32) || !isHex(parts[2], 16) || !isHex(parts[3], 2) {
		return "", "", false, false
	}
	if strings.Trim(parts[1], "0") == "" || strings.Trim(parts[2], "0") == "" {
		return "", "", false, false
	}
	flags, err := hex.DecodeString(parts[3])
	return parts[1], parts[2], err == nil && flags[0]&1 == 1, err == nil
}

func isHex(text string, length int) bool {
	return len(text) == length && strings.Trim(text, "0123456789abcdef") == ""
}

// requestID keeps a harmless identifier of the caller and replaces anything else.
func requestID(given string) string {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	if given != "" && len(given) <= 64 && strings.Trim(given, allowed) == "" {
		return given
	}
	return randomHex(16)
}

func randomHex(bytes int) string {
	buffer := make([]byte, bytes)
	// Read of crypto/rand never fails: it ends the program instead.
	_, _ = rand.Read(buffer)
	return hex.EncodeToString(buffer)
}
