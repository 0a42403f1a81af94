import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import {
  GRACE_MS,
  judgeSecret,
  RENEW_AFTER_MS,
  type RenewalState,
} from '../../server/identity/sessions/renewal.ts';
import {
  decodeSessionToken,
  encodeSessionToken,
  hashHalf,
  makeSessionToken,
  nextSecret,
} from '../../server/identity/sessions/session-token.ts';

const START = Date.parse('2026-03-01T12:00:00Z');

describe('the token of a session', () => {
  test('is read back, and nothing that is shorter, longer or of other characters', () => {
    const token = makeSessionToken();
    const text = encodeSessionToken(token);

    expect(decodeSessionToken(text)).toEqual(token);
    for (let length = 0; length < text.length; length += 1)
      expect(decodeSessionToken(text.slice(0, length))).toBeUndefined();
    expect(decodeSessionToken(`${text}A`)).toBeUndefined();
    expect(decodeSessionToken(`${text.slice(1)}!`)).toBeUndefined();
  });

  test('the next secret follows from this one and the nonce, and from neither alone', () => {
    const [secret, nonce] = [randomBytes(32), randomBytes(32)];

    expect(nextSecret(secret, nonce)).toEqual(nextSecret(secret, nonce));
    expect(nextSecret(secret, randomBytes(32))).not.toEqual(nextSecret(secret, nonce));
    expect(nextSecret(randomBytes(32), nonce)).not.toEqual(nextSecret(secret, nonce));
  });
});

describe('a secret that is shown', () => {
  const at = (ms: number) => new Date(START + ms);
  const [before, present, other] = [randomBytes(32), randomBytes(32), randomBytes(32)];
  const state = (change: Partial<RenewalState>): RenewalState => ({
    ...{ secretHash: present, previousSecretHash: before, renewedAt: at(0), renewalUsedAt: at(0) },
    ...change,
  });

  test('that is of no present and no last one is a copy', () => {
    expect(judgeSecret(state({}), other, at(0))).toEqual({ secret: 'spent' });
    expect(judgeSecret(state({ previousSecretHash: null }), before, at(0))).toEqual({ secret: 'spent' });
  });

  test('that was replaced is good for the grace after the new one was used, and a copy from then on', () => {
    expect(judgeSecret(state({}), before, at(GRACE_MS))).toEqual({ secret: 'previous', again: false });
    expect(judgeSecret(state({}), before, at(GRACE_MS + 1))).toEqual({ secret: 'spent' });
  });

  test('that was replaced is good without end while the new one was never used: its reply was lost', () => {
    const lost = state({ renewalUsedAt: null });

    expect(judgeSecret(lost, before, at(11 * 3_600_000))).toEqual({ secret: 'previous', again: true });
  });

  test('a step of the wall clock, forth or back, makes no theft', () => {
    expect(judgeSecret(state({}), before, at(3_600_000), 500)).toEqual({ secret: 'previous', again: false });
    expect(judgeSecret(state({}), before, at(-3_600_000))).toEqual({ secret: 'previous', again: false });
    expect(judgeSecret(state({}), before, at(3_600_000), GRACE_MS + 1)).toEqual({ secret: 'spent' });
  });

  test('that is the present one is renewed when it is old, but never while the grace of the last one runs', () => {
    const due = (change: Partial<RenewalState>, ms: number) => judgeSecret(state(change), present, at(ms));

    expect(due({}, RENEW_AFTER_MS - 1)).toMatchObject({ due: false });
    expect(due({}, RENEW_AFTER_MS)).toMatchObject({ due: true });
    expect(due({ renewalUsedAt: at(RENEW_AFTER_MS - 1_000) }, RENEW_AFTER_MS)).toMatchObject({ due: false });
    expect(due({ renewalUsedAt: null }, RENEW_AFTER_MS)).toEqual({
      ...{ secret: 'present', firstUse: true, due: false },
    });
  });
});

/** A server, and browsers that each keep one cookie; requests and replies travel for as long as the test says. */
class Model {
  now = START;
  ended = false;
  readonly state: RenewalState & { nonce: Buffer };

  constructor(first: Buffer) {
    this.state = {
      ...{ secretHash: hashHalf(first), previousSecretHash: null, nonce: randomBytes(32) },
      ...{ renewedAt: new Date(START), renewalUsedAt: null },
    };
  }

  /** What the server does with a request. @returns the secret that the reply carries. */
  answer(shown: Buffer): Buffer | undefined {
    const { state } = this;
    const now = new Date(this.now);
    const judged = judgeSecret(state, hashHalf(shown), now);
    if (judged.secret === 'spent') {
      this.ended = true;
      return undefined;
    }
    if (judged.secret === 'previous') return judged.again ? nextSecret(shown, state.nonce) : undefined;
    if (judged.firstUse) state.renewalUsedAt = now;
    if (!judged.due) return undefined;
    state.nonce = randomBytes(32);
    const next = nextSecret(shown, state.nonce);
    state.previousSecretHash = state.secretHash;
    state.secretHash = hashHalf(next);
    state.renewedAt = now;
    state.renewalUsedAt = null;
    return next;
  }
}

/** Small, repeatable, good enough to choose interleavings. */
function makeRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const ROUNDS = Number(process.env.SLOW ?? 0) > 0 ? 5_000 : 400;

describe('in any order of requests and replies', () => {
  test('an honest browser is never signed out: tabs at once, lost and late replies, long silence', () => {
    for (let seed = 1; seed <= ROUNDS; seed += 1) {
      const random = makeRandom(seed);
      const first = randomBytes(32);
      const model = new Model(first);
      let cookie: Buffer = first;
      let underWay: { shown: Buffer; sentAt: number }[] = [];
      let replies: Buffer[] = [];
      for (let step = 0; step < 120 && !model.ended; step += 1) {
        model.now += random(3) === 0 ? random(8 * 60_000) : random(4_000);
        // Nothing is under way for longer than a minute: the browser gives up, or the server has it.
        const late = underWay.filter(({ sentAt }) => model.now - sentAt > 60_000);
        underWay = underWay.filter((one) => !late.includes(one));
        switch (random(4)) {
          case 0:
            for (let tabs = random(6); tabs >= 0; tabs -= 1)
              underWay.push({ shown: cookie, sentAt: model.now });
            break;
          case 1:
            while (underWay.length > 0) {
              const [request] = underWay.splice(random(underWay.length), 1);
              const next = model.answer(request?.shown ?? first);
              // One in four is lost, or the process ended between the renewal and the reply.
              if (next !== undefined && random(4) > 0) replies.push(next);
            }
            break;
          default:
            for (const reply of replies) cookie = reply;
            replies = [];
        }
      }

      expect({ seed, ended: model.ended }).toEqual({ seed, ended: false });
    }
  });

  test('a copy of the token that is used on and on ends the session, whoever renews first', () => {
    let caught = 0;
    for (let seed = 1; seed <= ROUNDS; seed += 1) {
      const random = makeRandom(seed);
      const first = randomBytes(32);
      const model = new Model(first);
      const cookies: Buffer[] = [first, first];
      for (let step = 0; step < 400 && !model.ended; step += 1) {
        model.now += 1_000 + random(40_000);
        const who = random(2);
        cookies[who] = model.answer(cookies[who] ?? first) ?? cookies[who] ?? first;
      }
      if (model.ended) caught += 1;
    }

    expect(caught / ROUNDS).toBeGreaterThan(0.99);
  });

  test('a copy that lies unused while the browser goes on is worth nothing, and its first use ends the session', () => {
    const first = randomBytes(32);
    const model = new Model(first);
    let cookie: Buffer = first;
    for (let minute = 0; minute < 30; minute += 1) {
      model.now += 60_000;
      cookie = model.answer(cookie) ?? cookie;
    }
    expect(model.ended).toBe(false);

    model.answer(first);

    expect(model.ended).toBe(true);
  });
});
