/**
 * The hardening report: what of the CIS benchmark for Debian (and beyond it) holds on this machine, item by item, with the reason.
 * Each item is looked up when it is asked for; nothing is taken from what the image meant to be.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Type, type Static } from 'typebox';
import { messageOf } from '../../../lib/errors.ts';
import { accessChecks } from './access.ts';
import { kernelChecks } from './kernel.ts';
import { serviceChecks } from './services.ts';
import { viewSystem, type SystemView } from './view.ts';

/** What a check found. */
export interface Finding {
  state: 'pass' | 'fail' | 'not-checked';
  reason: string;
}

export interface HardeningCheck {
  /** Ours, stable. */
  id: string;
  /** Section of the CIS benchmark for Debian 12, version 1.1.0, whose numbers the one for 13 keeps; or `beyond`. */
  cis: string;
  title: string;
  look(view: SystemView): Promise<Finding> | Finding;
}

export const HardeningItem = Type.Object({
  id: Type.String(),
  cis: Type.String(),
  title: Type.String(),
  state: Type.Union([
    Type.Literal('pass'),
    Type.Literal('fail'),
    /** It does not hold, and why that is right is written down. */
    Type.Literal('excepted'),
    /** Only a running machine can tell. */
    Type.Literal('not-checked'),
  ]),
  reason: Type.String(),
});
export type HardeningItem = Static<typeof HardeningItem>;

export const HardeningReport = Type.Object({
  items: Type.Array(HardeningItem),
  counts: Type.Object({
    pass: Type.Integer(),
    fail: Type.Integer(),
    excepted: Type.Integer(),
    notChecked: Type.Integer(),
  }),
});
export type HardeningReport = Static<typeof HardeningReport>;

export const hardeningChecks: readonly HardeningCheck[] = [
  ...kernelChecks,
  ...serviceChecks,
  ...accessChecks,
];

const EXCEPTIONS = join(import.meta.dirname, '..', '..', '..', '..', 'systemd', 'hardening-exceptions.json');

/** Why an item need not hold, by its id. */
export async function readHardeningExceptions(): Promise<Record<string, string>> {
  return JSON.parse(await readFile(EXCEPTIONS, 'utf8')) as Record<string, string>;
}

/** @param root a built root tree; `/` for this machine. */
export async function checkHardening(root = '/'): Promise<HardeningReport> {
  const view = viewSystem(root);
  const exceptions = await readHardeningExceptions();
  const items: HardeningItem[] = [];
  for (const { id, cis, title, look } of hardeningChecks) {
    const found = await lookSafely(look, view);
    const why = exceptions[id];
    const excepted = found.state === 'fail' && why !== undefined;
    items.push({
      ...{ id, cis, title },
      state: excepted ? 'excepted' : found.state,
      reason: excepted ? `${found.reason}. Accepted: ${why}` : found.reason,
    });
  }
  const count = (state: HardeningItem['state']) => items.filter((item) => item.state === state).length;
  return {
    items,
    counts: {
      pass: count('pass'),
      fail: count('fail'),
      excepted: count('excepted'),
      notChecked: count('not-checked'),
    },
  };
}

/** What cannot be looked at does not hold. */
async function lookSafely(look: HardeningCheck['look'], view: SystemView): Promise<Finding> {
  try {
    return await look(view);
  } catch (error) {
    return { state: 'fail', reason: `It could not be looked at: ${messageOf(error)}` };
  }
}
