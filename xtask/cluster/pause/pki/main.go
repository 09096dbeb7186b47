// Command pki writes the keys and certificates of one throw-away cluster: pki DIRECTORY NODE-ADDRESS SERVICE-ADDRESS NODE-NAME.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

var life = struct{ from, to time.Time }{time.Now().Add(-time.Hour), time.Now().Add(365 * 24 * time.Hour)}

func main() {
	if len(os.Args) != 5 {
		fail(fmt.Errorf("usage: pki DIRECTORY NODE-ADDRESS SERVICE-ADDRESS NODE-NAME"))
	}
	dir, node, service, name := os.Args[1], net.ParseIP(os.Args[2]), net.ParseIP(os.Args[3]), os.Args[4]
	fail(os.MkdirAll(dir, 0o700))
	authority := newAuthority(dir)
	authority.issue(dir, "apiserver", &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		IPAddresses: []net.IP{node, service, net.IPv4(127, 0, 0, 1)},
		DNSNames: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
			"kubernetes.default.svc.cluster.local"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	authority.issue(dir, "kubelet", &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		IPAddresses: []net.IP{node},
		DNSNames:    []string{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	authority.issue(dir, "kubelet-client", &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver-kubelet-client", Organization: []string{"system:masters"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	// Tokens of service accounts: verifiers outside the cluster know RS256 best.
	account, err := rsa.GenerateKey(rand.Reader, 2048)
	fail(err)
	write(dir, "sa.key", "PRIVATE KEY", pkcs8(account), 0o600)
	public, err := x509.MarshalPKIXPublicKey(account.Public())
	fail(err)
	write(dir, "sa.pub", "PUBLIC KEY", public, 0o644)
}

type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	issued      int64
}

func newAuthority(dir string) *authority {
	key := newKey()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "slipway test cluster"},
		NotBefore: life.from, NotAfter: life.to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	fail(err)
	certificate, err := x509.ParseCertificate(der)
	fail(err)
	write(dir, "ca.crt", "CERTIFICATE", der, 0o644)
	return &authority{certificate: certificate, key: key, issued: 1}
}

func (a *authority) issue(dir, name string, template *x509.Certificate) {
	key := newKey()
	a.issued++
	template.SerialNumber = big.NewInt(a.issued)
	template.NotBefore, template.NotAfter = life.from, life.to
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	fail(err)
	write(dir, name+".crt", "CERTIFICATE", der, 0o644)
	write(dir, name+".key", "PRIVATE KEY", pkcs8(key), 0o600)
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fail(err)
	return key
}

func pkcs8(key crypto.PrivateKey) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	fail(err)
	return der
}

func write(dir, name, kind string, der []byte, mode os.FileMode) {
	fail(os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "pki:", err)
		os.Exit(1)
	}
}
