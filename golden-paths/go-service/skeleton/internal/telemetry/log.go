// Package telemetry owns what the process tells about itself: JSON logs, Prometheus metrics and traces.
package telemetry

import (
	"context"
	"io"
	"log/slog"
)

// timeFormat is RFC 3339 in UTC with exactly three decimals.
const timeFormat = "2006-01-02T15:04:05.000Z"

// NewLogger writes one JSON object per line. Line breaks inside values are escaped by the encoding.
func NewLogger(w io.Writer, service, version string, level slog.Level) *slog.Logger {
	handler := slog.NewJSONHandler(w, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime {
				return slog.String(slog.TimeKey, a.Value.Time().UTC().Format(timeFormat))
			}
			return a
		},
	})
	return slog.New(contextHandler{handler.WithAttrs([]slog.Attr{
		slog.String("service", service),
		slog.String("version", version),
	})})
}

// contextHandler adds the identifiers of the request in ctx to every line.
type contextHandler struct{ slog.Handler }

func (h contextHandler) Handle(ctx context.Context, record slog.Record) error {
	if span, ok := SpanFrom(ctx); ok {
		record = record.Clone()
		record.AddAttrs(
			slog.String("trace_id", span.TraceID),
			slog.String("span_id", span.SpanID),
			slog.String("request_id", span.RequestID),
		)
	}
	return h.Handler.Handle(ctx, record)
}

func (h contextHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return contextHandler{h.Handler.WithAttrs(attrs)}
}

func (h contextHandler) WithGroup(name string) slog.Handler {
	return contextHandler{h.Handler.WithGroup(name)}
}
