// Drives MSAL for Node.js. The commands are:
//
//   {"new": NAME, "auth": {...}}                     creates a ConfidentialClientApplication
//   {"on": NAME, "call": METHOD, "with": [...]}      calls its method
//   {"call": "pkce"}                                 the result is {verifier, challenge}
//
// Results are not changed, so an account can be passed to a later call.
import { ConfidentialClientApplication, CryptoProvider } from "@azure/msal-node";
import { serve } from "./commands.mjs";

const apps = new Map();

await serve(async (command) => {
  if (command.new) {
    apps.set(command.new, new ConfidentialClientApplication({ auth: command.auth }));
    return null;
  }
  if (command.call === "pkce") {
    return await new CryptoProvider().generatePkceCodes();
  }
  return await apps.get(command.on)[command.call](...command.with);
});
