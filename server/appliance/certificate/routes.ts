/** The HTTPS certificate: shown, requested, installed, taken off. */
import { Server as TlsServer } from 'node:tls';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import {
  installCertificate,
  readCertificate,
  removeCertificate,
  requestCertificate,
  type CertificateDeps,
  type TlsSwitch,
} from './certificate.ts';
import { CertificateRequestRequest, CertificateState, InstallCertificateRequest } from './schema.ts';

const tags = ['certificate'];
const act = { access: { right: 'machine.manage' } } as const;
const response = { 200: CertificateState };

/** The HTTPS server of an appliance, for those who come by its console socket. */
const SERVED = new WeakMap<object, TlsServer>();

export const certificateRoutes =
  (deps: CertificateDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    const served: unknown = app.server;
    if (served instanceof TlsServer) SERVED.set(deps.db, served);
    const switchTls: TlsSwitch = (context) => SERVED.get(deps.db)?.setSecureContext(context);

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
