package devlogin_test

import (
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/devlogin"
)

// A program uses the developer's login only if a flag says so.
func ExampleAzureCLI() {
	os.Setenv("PATH", "") // so that the example does not depend on the machine

	login, err := devlogin.AzureCLI(devlogin.Config{TenantID: "11111111-1111-1111-1111-111111111111"})
	if err != nil {
		log.Fatal(err)
	}
	_, err = login.TokenSource("https://vault.azure.net/.default").Token()
	if e, ok := errors.AsType[*entra.Error](err); ok {
		fmt.Println(e.Description)
	}
	// Output: Azure CLI is not installed, or az is not in PATH; install it: https://aka.ms/install-azure-cli
}

func ExampleAzureDeveloperCLI() {
	login, err := devlogin.AzureDeveloperCLI(devlogin.Config{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(login)
	// Output: devlogin.Login{Azure Developer CLI tenant=default}
}
