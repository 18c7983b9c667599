// A real OpenID Connect provider for the tests: the package `oidc-provider` with one client. Whoever logs in is believed;
// GET /groups/NAME/GROUP,GROUP puts somebody into groups.
// Usage: node provider.mjs PORT REDIRECT_URI NODE_MODULES. Prints "ready" when it listens.
import http from "node:http";
import { pathToFileURL } from "node:url";
import path from "node:path";

const [port, redirect, modules] = process.argv.slice(2);
const entry = path.join(modules, "oidc-provider", "lib", "index.js");
const { Provider } = await import(pathToFileURL(entry).href);

const groups = new Map();
const person = (id) => ({
  accountId: id,
  claims: () => ({ sub: id, preferred_username: id, groups: groups.get(id) ?? [] }),
});

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: "palisade",
    client_secret: "the client's secret",
    redirect_uris: [redirect],
    grant_types: ["authorization_code"],
    response_types: ["code"],
  }],
  pkce: { required: () => true },
  claims: { openid: ["sub"], profile: ["preferred_username"], groups: ["groups"] },
  scopes: ["openid", "profile", "groups"],
  findAccount: (_, id) => person(id),
  features: { devInteractions: { enabled: true } },
  cookies: { keys: ["not a secret: for tests"] },
});
const answer = provider.callback();
http.createServer((request, response) => {
  const [, first, name, list] = request.url.split("/");
  if (first !== "groups") return answer(request, response);
  groups.set(name, list.split(",").filter(Boolean));
  response.end();
}).listen(Number(port), "127.0.0.1", () => console.log("ready"));
