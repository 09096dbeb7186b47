module slipway.dev/tests/echo

go 1.26
