// An OpenID provider for the tests, on the loopback. Its one argument is JSON:
//
//   port     where to listen; 0 takes a free one
//   kids     the ids of its keys, made anew at each start: one RSA and one P-256 key for each;
//            access tokens are signed with the first that fits `algorithm`
//   algorithm, audience
//            of the access tokens (JWTs by RFC 9068)
//   format   "at+jwt", or "JWT" for providers that type every token so
//   clients  client_id, client_secret and scope of each client
//
// It prints its issuer on the first line, and goes on until its standard input ends.

import * as crypto from 'node:crypto';
import { createServer } from 'node:http';
import { register } from 'node:module';

URL.parse ??= (url, base) => (URL.canParse(url, base) ? new URL(url, base) : null);
if (!crypto.hash) {
  globalThis.crypto ??= crypto.webcrypto;
  globalThis.CryptoKey ??= crypto.webcrypto.CryptoKey;
  register('./older-node.mjs', import.meta.url);
}
const { Provider } = await import('oidc-provider');

const { port, kids, algorithm, audience, format, clients } = JSON.parse(process.argv[2]);
const scope = [...new Set(clients.flatMap((client) => client.scope.split(' ')))].join(' ');

const pair = (type, options, more) => {
  const { privateKey } = crypto.generateKeyPairSync(type, options);
  return { ...privateKey.export({ format: 'jwk' }), use: 'sig', ...more };
};
const keys = kids.flatMap((kid) => [
  pair('rsa', { modulusLength: 2048 }, { kid: `${kid}-rsa`, alg: 'RS256' }),
  pair('ec', { namedCurve: 'P-256' }, { kid: `${kid}-ec`, alg: 'ES256' }),
]);

const server = createServer();
server.listen(port, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: clients.map(({ client_id, client_secret, scope }) => ({
      client_id,
      client_secret,
      scope,
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
    })),
    jwks: { keys },
    scopes: scope.split(' '),
    clientBasedCORS: () => false,
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => audience,
        getResourceServerInfo: () => ({
          scope,
          audience,
          accessTokenTTL: 600,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: algorithm } },
        }),
      },
    },
    formats: {
      customizers: {
        jwt(ctx, token, jwt) {
          jwt.header = { typ: format };
        },
      },
    },
  });
  provider.on('server_error', (ctx, error) => console.error(error));
  server.on('request', provider.callback());
  console.log(issuer);
});

process.stdin.on('end', () => process.exit(0)).resume();
