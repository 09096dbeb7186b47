// Command ${{ values.name }} serves HTTP on one port and its health, readiness and metrics on another.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"services.internal/${{ values.name }}/internal/api"
	"services.internal/${{ values.name }}/internal/env"
	"services.internal/${{ values.name }}/internal/health"
	"services.internal/${{ values.name }}/internal/server"
	"services.internal/${{ values.name }}/internal/telemetry"
)

const service = "${{ values.name }}"

// Set by the build: -ldflags "-X main.version=1.2.3 -X main.commit=<sha>".
var (
	version = "dev"
	commit  = "unknown"
)

func main() {
	os.Exit(run())
}

// run returns the exit code; it exists so that deferred work is done before the process ends.
func run() (code int) {
	logger := telemetry.NewLogger(os.Stdout, service, version, slog.LevelInfo)
	slog.SetDefault(logger)
	defer func() {
		if cause := recover(); cause != nil {
			logger.Error("panic", "error", fmt.Sprint(cause), "stack", string(debug.Stack()))
			code = 1
		}
	}()

	config, err := env.Load(os.LookupEnv)
	if err != nil {
		logger.Error("configuration refused", "error", err.Error())
		return 1
	}
	logger = telemetry.NewLogger(os.Stdout, service, version, config.LogLevel)
	slog.SetDefault(logger)

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// A second signal ends the process at once: the handler is taken away when the first one has arrived.
	context.AfterFunc(ctx, stop)

	exporter := telemetry.NewExporter(config.OTLPEndpoint, service, version, logger)
	defer exporter.Close()

	metrics := telemetry.NewMetrics(version, commit)
	ready := health.New()
	err = server.Run(ctx, server.Options{
		Config:  config,
		Logger:  logger,
		Metrics: metrics,
		Health:  ready,
		Spans:   exporter,
		App:     api.New(version, commit),
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		logger.Error("stopped", "error", err.Error())
		return 1
	}
	logger.Info("stopped")
	return 0
}
