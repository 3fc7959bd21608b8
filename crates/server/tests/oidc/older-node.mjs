// Node.js 18, which Debian 12 has, lacks `crypto.hash`; everything else that oidc-provider needs is
// there. Loaded as hooks, this lets it import a `node:crypto` that has it.

const SHIM = `data:text/javascript,${encodeURIComponent(`
  import { createHash } from 'node:crypto';
  export * from 'node:crypto';
  export const hash = (name, data, encoding) => createHash(name).update(data).digest(encoding);
`)}`;

export async function resolve(specifier, context, next) {
  const isProvider = context.parentURL?.includes('/node_modules/oidc-provider/');
  if (specifier === 'node:crypto' && isProvider) {
    return { url: SHIM, shortCircuit: true };
  }
  return next(specifier, context);
}
