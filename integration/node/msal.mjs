// Lets a Go test drive MSAL for Node.js. Each line of standard input is a command, a JSON object;
// each line of standard output is its answer, in the same order:
//
//   {"new": NAME, "auth": {...}}                     makes a ConfidentialClientApplication
//   {"on": NAME, "call": METHOD, "with": [...]}      calls a method of it; answers {"result": ...}
//   {"call": "pkce"}                                 answers {"result": {verifier, challenge}}
//
// A call that fails answers {"error": {...}} with the fields of MSAL's error. Results are what MSAL
// gives, not changed, so that an account goes back in as it came out.
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
  let answer;
  try {
    answer = { result: await run(JSON.parse(line)) };
  } catch (error) {
    const { name, message, errorCode, errorNo, subError, claims, correlationId } = error;
    answer = { error: { name, message, errorCode, errorNo, subError, claims, correlationId } };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
