// A web app that signs users in with Auth.js and its provider for Entra. The arguments are the port, the issuer, the
// client ID and the secret. The page / shows the session.
import { createServer } from "node:http";
import { Auth } from "@auth/core";
import MicrosoftEntraID from "@auth/core/providers/microsoft-entra-id";

const [port, issuer, clientId, clientSecret] = process.argv.slice(2);
const origin = "http://localhost:" + port;
const config = {
  providers: [MicrosoftEntraID({ clientId, clientSecret, issuer })],
  basePath: "/auth",
  secret: "a secret that encrypts the session cookie",
  trustHost: true,
};

createServer(async (incoming, outgoing) => {
  const chunks = [];
  for await (const chunk of incoming) {
    chunks.push(chunk);
  }
  const path = incoming.url === "/" ? "/auth/session" : incoming.url;
  const response = await Auth(
    new Request(origin + path, {
      method: incoming.method,
      headers: incoming.headers,
      body: chunks.length > 0 ? Buffer.concat(chunks) : undefined,
    }),
    config,
  );
  outgoing.writeHead(response.status, [...response.headers].flat());
  outgoing.end(Buffer.from(await response.arrayBuffer()));
}).listen(port, "127.0.0.1");
