/** Which ways of signing in this appliance offers: for the page that nobody has signed in on yet, so it says nothing about anyone. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type, type Static } from 'typebox';
import { mailState } from '../../mail/index.ts';
import type { LinkDeps } from '../mail-links/mail-links.ts';
import { findProvider } from '../single-sign-on/queries.ts';

export const SignInOffer = Type.Object({
  /** For everybody; owners always have it. */
  password: Type.Boolean(),
  /** The name on the button; null: there is none. */
  singleSignOn: Type.Union([Type.Object({ name: Type.String() }), Type.Null()]),
  magicLink: Type.Boolean(),
  passwordReset: Type.Boolean(),
});
export type SignInOffer = Static<typeof SignInOffer>;

export const waysRoutes =
  (deps: LinkDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/sign-in/ways',
      {
        config: { access: 'public', background: true },
        schema: {
          tags: ['identity'],
          summary: 'Which ways of signing in are offered',
          response: { 200: SignInOffer },
        },
      },
      async () => {
        const [{ sends }, provider] = await Promise.all([mailState(deps.db), findProvider(deps.db)]);
        // Where single sign-on is the only way in, members have no other.
        const password = provider?.only_since == null;
        return {
          password,
          singleSignOn: provider?.enabled === true ? { name: provider.name } : null,
          magicLink: password && sends && (await deps.anyMagicLinks()),
          passwordReset: sends,
        };
      },
    );
  };
