/** The HTTPS certificate: shown, requested, installed, taken off. */
import { Server as TlsServer } from 'node:tls';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import {
  installCertificate,
  readCertificate,
  removeCertificate,
  renewOwnWhenDue,
  requestCertificate,
  type CertificateDeps,
  type TlsSwitch,
} from './certificate.ts';
import { changeAcme, readAcme, renewNow, renewWhenDue, type AcmeDeps } from './acme/renewal.ts';
import { AcmeChange, AcmeState } from './acme/schema.ts';
import { tellOfExpiry } from './expiry.ts';
import { CertificateRequestRequest, CertificateState, InstallCertificateRequest } from './schema.ts';

const tags = ['certificate'];
const act = { access: { right: 'machine.manage' }, stepUp: true } as const;
const response = { 200: CertificateState };

/** The HTTPS server of an appliance, for those who come by its console socket. */
const SERVED = new WeakMap<object, TlsServer>();

function switchOf(deps: Pick<CertificateDeps, 'db'>): TlsSwitch {
  return (context) => SERVED.get(deps.db)?.setSecureContext(context);
}

/** Every few minutes: fetches the certificate, or makes our own anew, when that is due, and tells whoever should know that it runs out. */
export async function renewCertificate(deps: AcmeDeps & Parameters<typeof tellOfExpiry>[0]): Promise<void> {
  await renewWhenDue(deps, switchOf(deps));
  await renewOwnWhenDue(deps, switchOf(deps));
  await tellOfExpiry(deps);
}

const acmeRoutes =
  (deps: AcmeDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    const state = { 200: AcmeState };
    app.get(
      '/certificate/acme',
      {
        config: { access: { right: 'operations.read' } },
        schema: { tags, summary: 'How the certificate is fetched by ACME', response: state },
      },
      () => readAcme(deps),
    );
    app.put(
      '/certificate/acme',
      {
        config: act,
        schema: {
          ...{ tags, summary: 'Fetch the certificate by ACME, or no longer', body: AcmeChange },
          response: state,
        },
      },
      (request) => changeAcme(deps, request.body, request.actor, switchOf(deps)),
    );
    app.post(
      '/certificate/acme/orders',
      {
        config: act,
        schema: { tags, summary: 'Fetch another certificate now', response: { 202: AcmeState } },
      },
      async (request, reply) => reply.status(202).send(await renewNow(deps, request.actor, switchOf(deps))),
    );
  };

export const certificateRoutes =
  (deps: AcmeDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    const served: unknown = app.server;
    if (served instanceof TlsServer) SERVED.set(deps.db, served);
    const switchTls = switchOf(deps);
    await app.register(acmeRoutes(deps));

    app.get(
      '/certificate',
      {
        config: { access: { right: 'operations.read' } },
        schema: { tags, summary: 'The certificate that browsers see', response },
      },
      () => readCertificate(deps),
    );
    app.put(
      '/certificate',
      {
        config: act,
        schema: { tags, summary: 'Install a certificate', body: InstallCertificateRequest, response },
      },
      (request) => installCertificate(deps, request.body, request.actor, switchTls),
    );
    app.delete(
      '/certificate',
      {
        config: act,
        schema: { tags, summary: 'Back to the one that the appliance made itself', response },
      },
      (request) => removeCertificate(deps, request.actor, switchTls),
    );
    app.post(
      '/certificate/request',
      {
        config: act,
        schema: {
          tags,
          summary: 'Make a key and a request (CSR) for a certificate of it',
          body: CertificateRequestRequest,
          response,
        },
      },
      (request) => requestCertificate(deps, request.body.names, request.actor),
    );
  };
