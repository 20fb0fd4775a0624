package entragrpc_test

import (
	"log"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/entratoken/entra"
	entragrpc "github.com/entratoken/entra/adapters/grpc"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/verify"
)

// A server admits daemons with the role Orders.Read.All and users' clients with the scope Orders.Read.
func ExampleUnaryServerInterceptor() {
	creds, err := credentials.NewServerTLSFromFile("tls.crt", "tls.key")
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := verify.New(verify.Config{
		Audiences: []string{"aaaaaaaa-0000-4000-8000-00000000000b"},
		Tenants:   []string{"11111111-1111-4111-8111-111111111111"},
	})
	if err != nil {
		log.Fatal(err)
	}
	opts := entragrpc.Options{Rules: []verify.Rule{verify.ScopeOrRole("Orders.Read", "Orders.Read.All")}}
	server := grpc.NewServer(
		grpc.Creds(creds),
		grpc.UnaryInterceptor(entragrpc.UnaryServerInterceptor(verifier, opts)),
		grpc.StreamInterceptor(entragrpc.StreamServerInterceptor(verifier, opts)),
	)
	_ = server
}

// A daemon adds its token to each call.
func ExamplePerRPC() {
	client, err := entra.New(entra.Config{
		TenantID:   "11111111-1111-4111-8111-111111111111",
		ClientID:   "aaaaaaaa-0000-4000-8000-00000000000d",
		Credential: entra.Secret("daemon-secret"),
	})
	if err != nil {
		log.Fatal(err)
	}
	conn, err := grpc.NewClient("orders.example:443",
		grpc.WithTransportCredentials(credentials.NewTLS(nil)),
		grpc.WithPerRPCCredentials(entragrpc.PerRPC(clientcreds.TokenSource(client, "api://orders/.default"))))
	if err != nil {
		log.Fatal(err)
	}
	_ = conn
	// Output:
}
