import { paragraph, type MailTemplate } from './template.ts';

/** To owners: something in the registers has become overdue. */
export const registerOverdue: MailTemplate<{ count: number }> = {
  title: 'Overdue in the registers',
  compose: (data, { applianceName }) => ({
    subject: `${data.count === 1 ? 'An entry' : `${data.count} entries`} of the registers became overdue (${applianceName})`,
    blocks: [
      paragraph(
        `${data.count === 1 ? 'An undertaking, check or training is' : `${data.count} undertakings, checks or trainings are`} overdue. Whoever is concerned was told.`,
      ),
      paragraph('Open People, Registers in the console and choose Overdue.'),
    ],
  }),
};
