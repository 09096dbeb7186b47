// Package api holds the HTTP interface of the service: start here.
package api

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
)

// API answers the callers of the service.
type API struct{ version, commit string }

// New returns the API with what it needs: the version and commit that GET /version tells.
func New(version, commit string) *API { return &API{version, commit} }

// Register adds every route. The pattern, never the path, becomes the label of metrics and logs.
func (a *API) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /version", a.which)
	mux.HandleFunc("GET /v1/greetings/{name}", a.greet)
	mux.HandleFunc("POST /v1/echo", a.echo)
}

// which tells what is running: after a deployment, and in a preview.
func (a *API) which(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"version": a.version, "commit": a.commit})
}

func (a *API) greet(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"greeting": "Hello, " + r.PathValue("name") + "!"})
}

// echo returns the JSON document it was sent; larger ones than the body limit are refused.
func (a *API) echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		writeJSON(w, http.StatusRequestEntityTooLarge, map[string]string{"error": "the body is larger than 1 MiB"})
	case err != nil:
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "the body could not be read"})
	case !json.Valid(body):
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "the body is not JSON"})
	default:
		writeJSON(w, http.StatusOK, json.RawMessage(body))
	}
}

func writeJSON(w http.ResponseWriter, code int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	// A caller that has gone away is not a fault of ours.
	_ = json.NewEncoder(w).Encode(value)
}
