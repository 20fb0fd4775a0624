// Drives openid-client, for one sign-in. The commands are:
//
//   {"call": "start", "with": [issuer, clientID, secret, parameters]}  the result is the URL of the authorization request
//   {"call": "finish", "with": [url]}     redeems the code in the URL to which the browser was redirected
//   {"call": "refresh"}                   redeems the refresh token
//   {"call": "userinfo"}                  queries UserInfo
//   {"call": "clientCredentials", "with": [scope]}
//
// The result of a token request is the token response with the claims of its ID token.
import * as client from "openid-client";
import { serve } from "./commands.mjs";

let config, checks, tokens;

function result(response) {
  tokens = { ...tokens, ...response, claims: response.claims() };
  return tokens;
}

await serve(async ({ call, with: values }) => {
  switch (call) {
    case "start": {
      const [issuer, clientID, secret, parameters] = values;
      config = await client.discovery(new URL(issuer), clientID, secret);
      checks = {
        pkceCodeVerifier: client.randomPKCECodeVerifier(),
        expectedState: client.randomState(),
        expectedNonce: client.randomNonce(),
      };
      return client.buildAuthorizationUrl(config, {
        ...parameters,
        code_challenge: await client.calculatePKCECodeChallenge(checks.pkceCodeVerifier),
        code_challenge_method: "S256",
        state: checks.expectedState,
        nonce: checks.expectedNonce,
      });
    }
    case "finish":
      return result(await client.authorizationCodeGrant(config, new URL(values[0]), checks));
    case "refresh":
      return result(await client.refreshTokenGrant(config, tokens.refresh_token));
    case "userinfo":
      return await client.fetchUserInfo(config, tokens.access_token, tokens.claims.sub);
    case "clientCredentials":
      return result(await client.clientCredentialsGrant(config, { scope: values[0] }));
  }
  throw new Error("unknown command " + call);
});
