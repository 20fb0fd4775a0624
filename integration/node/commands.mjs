// Lets a Go test drive a library. Each line of standard input is a command, a JSON object. Each line of standard output
// is its response, in the same order: {"result": ...}, or {"error": {...}} with the fields of the library's error.
import { createInterface } from "node:readline";

// serve responds to each command with the result of run(command).
export async function serve(run) {
  for await (const line of createInterface({ input: process.stdin })) {
    let response;
    try {
      response = { result: (await run(JSON.parse(line))) ?? null };
    } catch (error) {
      const { name, message, errorCode, errorNo, subError, claims, correlationId } = error;
      response = { error: { name, message, errorCode, errorNo, subError, claims, correlationId } };
    }
    process.stdout.write(JSON.stringify(response) + "\n");
  }
}
