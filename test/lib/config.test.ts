import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../server/lib/config.ts';

describe('settings', () => {
  it.each([
    [{ HOLDFAST_PROT: '1' }, /Unknown setting HOLDFAST_PROT/],
    [{ HOLDFAST_PORT: 'https' }, /HOLDFAST_PORT is no port number/],
    [{ HOLDFAST_PORT: '70000' }, /HOLDFAST_PORT is no port number/],
    [{ HOLDFAST_DATABASE_URL: 'mysql://x' }, /no PostgreSQL address/],
    [{ HOLDFAST_TLS_CERT: '/a.pem' }, /go together/],
    [{ HOLDFAST_LOG: 'loud' }, /not one of/],
    [{ HOLDFAST_ORIGINS: 'http://plain.example' }, /no https origin/],
    [{ HOLDFAST_POSTGRES_BIN: 'bin' }, /HOLDFAST_POSTGRES_BIN is not an absolute path/],
    [{ HOLDFAST_SHARED_GROUP: 'a b' }, /no name of a group/],
    [{ HOLDFAST_OWN_MACHINE: 'yes' }, /HOLDFAST_OWN_MACHINE is not `allow`/],
  ])('%j is refused in words', (environment, words) => {
    expect(() => loadConfig(environment)).toThrow(words);
  });

  it('have defaults that need no setting at all', () => {
    expect(loadConfig({})).toMatchObject({ port: 8443, host: '0.0.0.0', logLevel: 'info', origins: [] });
  });

  it('never repeat the database address in an error: it may hold a password', () => {
    const broken = { HOLDFAST_DATABASE_URL: 'mysql://user:secret@host/db' };

    expect(() => loadConfig(broken)).toThrow(
      expect.not.objectContaining({ message: expect.stringContaining('secret') as string }) as Error,
    );
  });
});
