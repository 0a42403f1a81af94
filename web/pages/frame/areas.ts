/** The areas of the console in their order, and who sees them. */
import ArrowLeftRight from '@lucide/svelte/icons/arrow-left-right';
import BellRing from '@lucide/svelte/icons/bell-ring';
import Camera from '@lucide/svelte/icons/camera';
import ClipboardCheck from '@lucide/svelte/icons/clipboard-check';
import Folder from '@lucide/svelte/icons/folder';
import HardDrive from '@lucide/svelte/icons/hard-drive';
import KeySquare from '@lucide/svelte/icons/key-square';
import History from '@lucide/svelte/icons/history';
import KeyRound from '@lucide/svelte/icons/key-round';
import LayoutDashboard from '@lucide/svelte/icons/layout-dashboard';
import ScrollText from '@lucide/svelte/icons/scroll-text';
import Server from '@lucide/svelte/icons/server';
import Settings from '@lucide/svelte/icons/settings';
import ShieldCheck from '@lucide/svelte/icons/shield-check';
import Users from '@lucide/svelte/icons/users';
import Stamp from '@lucide/svelte/icons/stamp';
import type { Right } from '../../api/shapes.ts';
import { paths } from '../../routes.ts';

interface Area {
  label: string;
  href: string;
  icon: typeof Camera;
  /** What a person's role must have to see it. */
  right: Right;
  /** Only where Holdfast runs on its own machine image. */
  machine?: boolean;
  /** Only while an access review waits for somebody who does not see people, where it is else. */
  review?: boolean;
}

export const areas: readonly { group: string; areas: readonly Area[] }[] = [
  {
    group: '',
    areas: [
      { label: 'Overview', href: paths.overview(), icon: LayoutDashboard, right: 'operations.read' },
      { label: 'Alerts', href: paths.alerts(), icon: BellRing, right: 'operations.read' },
    ],
  },
  { group: 'Data', areas: [{ label: 'Files', href: paths.files(), icon: Folder, right: 'files.read' }] },
  {
    group: 'Protection',
    areas: [
      { label: 'Snapshots', href: paths.snapshots(), icon: Camera, right: 'operations.read' },
      { label: 'Point in time', href: paths.pointInTime(), icon: History, right: 'operations.read' },
      { label: 'Restore tests', href: paths.restoreTests(), icon: ShieldCheck, right: 'operations.read' },
      { label: 'Targets', href: paths.targets(), icon: HardDrive, right: 'operations.read' },
    ],
  },
  {
    group: 'Trust',
    areas: [
      { label: 'People', href: paths.people(), icon: Users, right: 'people.read' },
      {
        ...{ label: 'Access reviews', href: paths.accessReviews(), icon: ClipboardCheck },
        ...{ right: 'access-reviews.take-part', review: true },
      },
      { label: 'Keys', href: paths.keys(), icon: KeyRound, right: 'settings.read' },
      { label: 'Approvals', href: paths.approvals(), icon: Stamp, right: 'approvals.read' },
      { label: 'API keys', href: paths.apiKeys(), icon: KeySquare, right: 'api-keys.own' },
      { label: 'Audit', href: paths.audit(), icon: ScrollText, right: 'audit.read' },
      { label: 'Requests', href: paths.requests(), icon: ArrowLeftRight, right: 'audit.read' },
    ],
  },
  {
    group: 'System',
    areas: [
      { label: 'Appliance', href: paths.machine(), icon: Server, right: 'operations.read', machine: true },
      { label: 'Settings', href: paths.settings(), icon: Settings, right: 'settings.read' },
    ],
  },
];

interface Seer {
  may(right: Right): boolean;
  machine: boolean;
  /** Whether items of an access review wait for them. */
  reviews: boolean;
}

/** Whether somebody sees an area. */
export function sees(area: Area, who: Seer): boolean {
  if (!who.may(area.right) || (area.machine === true && !who.machine)) return false;
  return area.review !== true || (!who.may('people.read') && who.reviews);
}

/** Whether an address lies in an area. */
export function within(path: string, href: string): boolean {
  return href === '/' ? path === '/' : path === href || path.startsWith(`${href}/`);
}
