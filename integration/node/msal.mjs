// Lets a Go test drive MSAL for Node.js. Each line of standard input is a command, a JSON object. Each line of standard
// output is its response, in the same order.
//
//   {"new": NAME, "auth": {...}}                     creates a ConfidentialClientApplication
//   {"on": NAME, "call": METHOD, "with": [...]}      calls its method; the response is {"result": ...}
//   {"call": "pkce"}                                 the response is {"result": {verifier, challenge}}
//
// The response to a failed call is {"error": {...}} with the fields of MSAL's error. Results are not changed, so an
// account can be passed to a later call.
import { createInterface } from "node:readline";
import { ConfidentialClientApplication, CryptoProvider } from "@azure/msal-node";

const apps = new Map();

async function run(command) {
  if (command.new) {
    apps.set(command.new, new ConfidentialClientApplication({ auth: command.auth }));
    return null;
  }
  if (command.call === "pkce") {
    return await new CryptoProvider().generatePkceCodes();
  }
  return await apps.get(command.on)[command.call](...command.with);
}

for await (const line of createInterface({ input: process.stdin })) {
  let response;
  try {
    response = { result: await run(JSON.parse(line)) };
  } catch (error) {
    const { name, message, errorCode, errorNo, subError, claims, correlationId } = error;
    response = { error: { name, message, errorCode, errorNo, subError, claims, correlationId } };
  }
  process.stdout.write(JSON.stringify(response) + "\n");
}
