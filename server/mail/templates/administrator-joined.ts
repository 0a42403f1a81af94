import { facts, instant, paragraph, type MailTemplate } from './template.ts';

/** To managers of a workspace: an administrator has given themself access to it. */
export const administratorJoined: MailTemplate<{
  /** Name of the administrator. */
  person: string;
  workspaces: readonly string[];
  /** Name of the team by which; absent when it was done directly. */
  team?: string;
  /** RFC 3339. */
  at: string;
}> = {
  title: 'Administrator gave themself access',
  compose: (data, { applianceName }) => ({
    subject: `${data.person} gave themself access to ${data.workspaces[0] ?? 'a workspace'} (${applianceName})`,
    blocks: [
      paragraph(
        `${data.person}, an administrator, has access to what is in ${data.workspaces.join(', ')} from now on, by an act of their own. You manage it.`,
      ),
      facts(
        ['When', instant(data.at)],
        ...(data.team === undefined ? [] : [['By joining the team', data.team] as const]),
      ),
      paragraph(
        'If you do not know why, ask them, and take them out on the page of the workspace. The audit log has the act.',
      ),
    ],
  }),
};
