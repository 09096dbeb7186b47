// Package health answers "is the process alive" and "may it get traffic" as JSON.
package health

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Check returns nil when a dependency answers.
type Check func(context.Context) error

// State knows the readiness checks and whether the process is starting, serving or draining.
type State struct {
	mu       sync.RWMutex
	checks   map[string]Check
	serving  atomic.Bool
	draining atomic.Bool
}

// New returns a State that is not ready until Serving is called.
func New() *State { return &State{checks: map[string]Check{}} }

// Add registers a dependency that must answer before traffic is accepted.
func (s *State) Add(name string, check Check) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checks[name] = check
}

// Serving says that the listeners are open.
func (s *State) Serving() { s.serving.Store(true) }

// Draining says that no new traffic should come; there is no way back.
func (s *State) Draining() { s.draining.Store(true) }

// Live answers 200 as long as the process can answer at all; it asks no dependency.
func (s *State) Live(w http.ResponseWriter, _ *http.Request) {
	write(w, http.StatusOK, map[string]string{"process": "ok"})
}

// Ready answers 200 when the process serves, does not drain and every check passes, else 503.
func (s *State) Ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	code, results := http.StatusOK, map[string]string{"serving": "ok"}
	switch {
	case s.draining.Load():
		code, results["serving"] = http.StatusServiceUnavailable, "draining"
	case !s.serving.Load():
		code, results["serving"] = http.StatusServiceUnavailable, "starting"
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for name, check := range s.checks {
		results[name] = "ok"
		if err := check(ctx); err != nil {
			// The cause belongs into the log of the check, not into an answer.
			code, results[name] = http.StatusServiceUnavailable, "failed"
		}
	}
	write(w, code, results)
}

func write(w http.ResponseWriter, code int, checks map[string]string) {
	status := "ok"
	if code != http.StatusOK {
		status = "unavailable"
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	// A caller that has gone away is not a fault of ours.
	_ = json.NewEncoder(w).Encode(map[string]any{"status": status, "checks": checks})
}
