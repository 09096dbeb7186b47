// Package server opens the two listeners, wraps the API with limits, logs, metrics and traces, and ends in order.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"services.internal/${{ values.name }}/internal/env"
	"services.internal/${{ values.name }}/internal/health"
	"services.internal/${{ values.name }}/internal/telemetry"
)

// Limits of every request to the application port.
const (
	MaxBodyBytes      = 1 << 20
	maxHeaderBytes    = 64 << 10
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 60 * time.Second
	idleTimeout       = 90 * time.Second
)

// Registrar adds its routes to a mux.
type Registrar interface{ Register(mux *http.ServeMux) }

// Options is what Run needs.
type Options struct {
	Config  env.Config
	Logger  *slog.Logger
	Metrics *telemetry.Metrics
	Health  *health.State
	Spans   *telemetry.Exporter
	App     Registrar
	// Listening, if set, is told the bound addresses once both ports are open.
	Listening func(app, admin net.Addr)
}

// Run serves until ctx ends, then becomes unready, waits, drains and returns. An error means that it could not
// serve, or that requests were still open when the drain time was over.
func Run(ctx context.Context, o Options) error {
	var listen net.ListenConfig
	appSocket, err := listen.Listen(ctx, "tcp", o.Config.HTTPAddress)
	if err != nil {
		return fmt.Errorf("HTTP_ADDRESS: %w", err)
	}
	defer appSocket.Close()
	adminSocket, err := listen.Listen(ctx, "tcp", o.Config.AdminAddress)
	if err != nil {
		return fmt.Errorf("ADMIN_ADDRESS: %w", err)
	}
	defer adminSocket.Close()

	app, admin := o.appServer(), o.adminServer()
	failed := make(chan error, 2)
	go func() { failed <- app.Serve(appSocket) }()
	go func() { failed <- admin.Serve(adminSocket) }()
	o.Health.Serving()
	o.Logger.Info("listening", "http", appSocket.Addr().String(), "admin", adminSocket.Addr().String())
	if o.Listening != nil {
		o.Listening(appSocket.Addr(), adminSocket.Addr())
	}

	select {
	case err := <-failed:
		return errors.Join(err, app.Close(), admin.Close())
	case <-ctx.Done():
	}
	return o.drain(app, admin, failed)
}

// drain keeps accepting for the delay, because load balancers need a moment to see that the process is not ready.
func (o Options) drain(app, admin *http.Server, failed <-chan error) error {
	o.Health.Draining()
	o.Logger.Info("draining", "delay", o.Config.ShutdownDelay.String(), "timeout", o.Config.DrainTimeout.String())
	delay := time.NewTimer(o.Config.ShutdownDelay)
	defer delay.Stop()
	select {
	case <-delay.C:
	case err := <-failed:
		return errors.Join(err, app.Close(), admin.Close())
	}
	ctx, cancel := context.WithTimeout(context.Background(), o.Config.DrainTimeout)
	defer cancel()
	if err := app.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("requests were still open: %w", err), app.Close(), admin.Close())
	}
	return admin.Close()
}

func (o Options) appServer() *http.Server {
	mux := http.NewServeMux()
	o.App.Register(mux)
	return o.harden(&http.Server{Handler: o.observe(mux)})
}

func (o Options) adminServer() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", o.Health.Live)
	mux.HandleFunc("GET /readyz", o.Health.Ready)
	mux.Handle("GET /metrics", o.Metrics.Handler())
	return o.harden(&http.Server{Handler: mux})
}

func (o Options) harden(s *http.Server) *http.Server {
	s.ReadHeaderTimeout = readHeaderTimeout
	s.ReadTimeout = readTimeout
	s.WriteTimeout = writeTimeout
	s.IdleTimeout = idleTimeout
	s.MaxHeaderBytes = maxHeaderBytes
	s.ErrorLog = slog.NewLogLogger(o.Logger.Handler(), slog.LevelWarn)
	return s
}
