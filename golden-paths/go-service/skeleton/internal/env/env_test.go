package env

import (
	"log/slog"
	"strings"
	"testing"
	"time"
)

func from(values map[string]string) Lookup {
	return func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	}
}

func TestLoadUsesDefaults(t *testing.T) {
	config, err := Load(from(nil))
	if err != nil {
		t.Fatal(err)
	}
	want := Config{HTTPAddress: ":8080", AdminAddress: ":9090", LogLevel: slog.LevelInfo, ShutdownDelay: 5 * time.Second, DrainTimeout: 20 * time.Second}
	if config != want {
		t.Fatalf("got %+v, want %+v", config, want)
	}
}

func TestLoadNamesEveryProblemInOneLineWithoutValues(t *testing.T) {
	_, err := Load(from(map[string]string{
		"HTTP_ADDRESS":                "s3cret",
		"LOG_LEVEL":                   "loud",
		"SHUTDOWN_DELAY":              "1h",
		"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318",
	}))
	if err == nil {
		t.Fatal("no error")
	}
	for _, name := range []string{"HTTP_ADDRESS", "LOG_LEVEL", "SHUTDOWN_DELAY", "OTEL_EXPORTER_OTLP_ENDPOINT"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named in %q", name, err)
		}
	}
	if strings.ContainsAny(err.Error(), "\n\r") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("bad text: %q", err)
	}
}

func TestRequired(t *testing.T) {
	r := NewReader(from(map[string]string{"PRESENT": "x"}))
	if r.Required("PRESENT") != "x" || r.Err() != nil {
		t.Fatal("a present value was refused")
	}
	if r.Required("ABSENT"); r.Err() == nil || r.Err().Error() != "ABSENT is required" {
		t.Fatalf("got %v", r.Err())
	}
}
