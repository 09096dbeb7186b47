// Package env reads the configuration of the process from environment variables and from nowhere else.
package env

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"
)

// Config is everything that may differ between two deployments of the same image.
type Config struct {
	// HTTPAddress is where the service answers its callers (HTTP_ADDRESS, default ":8080").
	HTTPAddress string
	// AdminAddress is where /healthz, /readyz and /metrics live (ADMIN_ADDRESS, default ":9090").
	AdminAddress string
	// LogLevel is the lowest level that is written (LOG_LEVEL: debug, info, warn, error).
	LogLevel slog.Level
	// ShutdownDelay passes between "not ready" and the end of accepting (SHUTDOWN_DELAY, default 5s).
	ShutdownDelay time.Duration
	// DrainTimeout is the longest wait for open requests (DRAIN_TIMEOUT, default 20s).
	DrainTimeout time.Duration
	// OTLPEndpoint is the base URL of an OTLP/HTTP collector; empty switches export off
	// (OTEL_EXPORTER_OTLP_ENDPOINT).
	OTLPEndpoint string
}

// Lookup has the signature of os.LookupEnv.
type Lookup func(name string) (string, bool)

// Load reads and checks every variable; the error names all problems in one line.
func Load(lookup Lookup) (Config, error) {
	r := NewReader(lookup)
	config := Config{
		HTTPAddress:   r.Address("HTTP_ADDRESS", ":8080"),
		AdminAddress:  r.Address("ADMIN_ADDRESS", ":9090"),
		LogLevel:      r.Level("LOG_LEVEL", slog.LevelInfo),
		ShutdownDelay: r.Duration("SHUTDOWN_DELAY", 5*time.Second, 0, time.Minute),
		DrainTimeout:  r.Duration("DRAIN_TIMEOUT", 20*time.Second, time.Second, 5*time.Minute),
		OTLPEndpoint:  r.URL("OTEL_EXPORTER_OTLP_ENDPOINT"),
	}
	return config, r.Err()
}

// Reader collects problems, so that one start shows all of them.
type Reader struct {
	lookup   Lookup
	problems []string
}

// NewReader returns a reader over lookup.
func NewReader(lookup Lookup) *Reader { return &Reader{lookup: lookup} }

// Err is nil when every variable read so far was fine. Values are never part of its text.
func (r *Reader) Err() error {
	if len(r.problems) == 0 {
		return nil
	}
	return errors.New(strings.Join(r.problems, "; "))
}

// Required returns the value of name, which must be set and not empty.
func (r *Reader) Required(name string) string {
	value, _ := r.lookup(name)
	if value == "" {
		r.refuse(name, "is required")
	}
	return value
}

// Address returns a host:port pair.
func (r *Reader) Address(name, fallback string) string {
	value := r.text(name, fallback)
	if _, _, err := net.SplitHostPort(value); err != nil {
		r.refuse(name, "must be host:port")
	}
	return value
}

// Duration returns a Go duration such as 5s between lowest and highest.
func (r *Reader) Duration(name string, fallback, lowest, highest time.Duration) time.Duration {
	value, err := time.ParseDuration(r.text(name, fallback.String()))
	if err != nil || value < lowest || value > highest {
		r.refuse(name, fmt.Sprintf("must be a duration between %s and %s", lowest, highest))
		return fallback
	}
	return value
}

// Level returns a log level.
func (r *Reader) Level(name string, fallback slog.Level) slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(r.text(name, fallback.String()))); err != nil {
		r.refuse(name, "must be debug, info, warn or error")
		return fallback
	}
	return level
}

// URL returns an http or https URL without a trailing slash, or nothing.
func (r *Reader) URL(name string) string {
	value := r.text(name, "")
	if value == "" {
		return ""
	}
	parsed, err := url.Parse(value)
	if err != nil || parsed.Host == "" || (parsed.Scheme != "http" && parsed.Scheme != "https") {
		r.refuse(name, "must be an http or https URL")
		return ""
	}
	return strings.TrimRight(value, "/")
}

func (r *Reader) text(name, fallback string) string {
	if value, ok := r.lookup(name); ok && value != "" {
		return value
	}
	return fallback
}

func (r *Reader) refuse(name, rule string) {
	r.problems = append(r.problems, name+" "+rule)
}
