package health

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

func ask(t *testing.T, handler http.HandlerFunc) (int, map[string]string) {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler(recorder, httptest.NewRequest(http.MethodGet, "/", nil))
	var body struct{ Checks map[string]string }
	if err := json.Unmarshal(recorder.Body.Bytes(), &body); err != nil {
		t.Fatal(err)
	}
	return recorder.Code, body.Checks
}

func TestReadyFollowsTheLifeOfTheProcess(t *testing.T) {
	state := New()
	if code, checks := ask(t, state.Ready); code != 503 || checks["serving"] != "starting" {
		t.Fatalf("starting: %d %v", code, checks)
	}
	state.Serving()
	if code, _ := ask(t, state.Ready); code != 200 {
		t.Fatalf("serving: %d", code)
	}
	state.Draining()
	if code, checks := ask(t, state.Ready); code != 503 || checks["serving"] != "draining" {
		t.Fatalf("draining: %d %v", code, checks)
	}
	if code, _ := ask(t, state.Live); code != 200 {
		t.Fatalf("a draining process is alive, got %d", code)
	}
}

func TestReadyWaitsForDependencies(t *testing.T) {
	state := New()
	state.Serving()
	var failure error = errors.New("password=hunter2")
	state.Add("database", func(context.Context) error { return failure })
	if code, checks := ask(t, state.Ready); code != 503 || checks["database"] != "failed" {
		t.Fatalf("%d %v", code, checks)
	}
	failure = nil
	if code, checks := ask(t, state.Ready); code != 200 || checks["database"] != "ok" {
		t.Fatalf("%d %v", code, checks)
	}
}
