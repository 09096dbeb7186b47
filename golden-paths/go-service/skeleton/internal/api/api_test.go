package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestRoutes(t *testing.T) {
	mux := http.NewServeMux()
	New("1.2.3", "abc").Register(mux)
	for _, c := range []struct {
		method, path, body string
		code               int
		answer             string
	}{
		{"GET", "/v1/greetings/ann", "", 200, `{"greeting":"Hello, ann!"}`},
		{"GET", "/version", "", 200, `{"commit":"abc","version":"1.2.3"}`},
		{"POST", "/v1/echo", `{"a": 1}`, 200, `{"a":1}`},
		{"POST", "/v1/echo", `{`, 400, `{"error":"the body is not JSON"}`},
		{"DELETE", "/v1/echo", "", 405, "Method Not Allowed"},
		{"GET", "/nowhere", "", 404, "404 page not found"},
	} {
		recorder := httptest.NewRecorder()
		mux.ServeHTTP(recorder, httptest.NewRequest(c.method, c.path, strings.NewReader(c.body)))
		if got := strings.TrimSpace(recorder.Body.String()); recorder.Code != c.code || got != c.answer {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, recorder.Code, got, c.code, c.answer)
		}
	}
}
