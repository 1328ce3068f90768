// What the page runs: GraphiQL over POST, subscriptions over graphql-transport-ws. The token is that of the session which a
// sign-in on our own page began, unless the headers' pane has another.
import { createGraphiQLFetcher } from "@graphiql/toolkit";
import { GraphiQL } from "graphiql";
import { createClient } from "graphql-ws";
import { createElement, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import "graphiql/graphiql.css";

const RENEW_SECONDS = 30;
const words = /^zh\b/i.test(navigator.language)
  ? { signIn: "登录", account: "已登录" }
  : { signIn: "Sign in", account: "Signed in" };

const url = new URL(window.location.pathname, window.location.href);
const socketUrl = new URL(url);
socketUrl.protocol = url.protocol === "https:" ? "wss:" : "ws:";
const auth = new URL("auth/", url);

let current = { until: 0, token: null };
let asking = null;

// The session's access token, or null where nobody is signed in; renewed before it ends, and asked for once by all who wait.
function sessionToken() {
  if (current.until > Date.now()) return Promise.resolve(current.token);
  asking ??= renewed().finally(() => (asking = null));
  return asking;
}

async function renewed() {
  const answer = await window.fetch(new URL("token", auth), { method: "POST", credentials: "same-origin" }).catch(() => null);
  const { accessToken = null, expiresIn = 2 * RENEW_SECONDS } = answer?.ok ? await answer.json() : {};
  current = { until: Date.now() + 1000 * Math.max(expiresIn - RENEW_SECONDS, 1), token: accessToken };
  return accessToken;
}

// Until a token is pasted the prepared header is empty, which is no header at all.
async function fetchSignedIn(address, { headers, ...options }) {
  const named = Object.entries(headers).filter(([name, value]) => name !== "Authorization" || value.trim() !== "Bearer");
  const token = named.some(([name]) => name.toLowerCase() === "authorization") ? null : await sessionToken();
  return window.fetch(address, { ...options, headers: Object.fromEntries(token ? [...named, ["Authorization", `Bearer ${token}`]] : named) });
}

const wsClient = createClient({
  url: socketUrl.href,
  connectionParams: async () => {
    const token = await sessionToken();
    return token ? { Authorization: `Bearer ${token}` } : {};
  },
});

function SignIn() {
  const [signedIn, setSignedIn] = useState(false);
  useEffect(() => {
    sessionToken().then((token) => setSignedIn(token !== null));
  }, []);
  const page = new URL("sign-in", auth);
  page.searchParams.set("next", url.pathname);
  return createElement("a", { href: page.href }, signedIn ? words.account : words.signIn);
}

const root = document.getElementById("graphiql");
createRoot(root).render(
  createElement(
    GraphiQL,
    {
      fetcher: createGraphiQLFetcher({ fetch: fetchSignedIn, url: url.href, wsClient }),
      defaultQuery: root.dataset.query,
      defaultHeaders: root.dataset.headers,
      isHeadersEditorEnabled: true,
      shouldPersistHeaders: false,
    },
    createElement(GraphiQL.Logo, null, createElement(SignIn)),
  ),
);
