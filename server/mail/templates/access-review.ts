import { facts, instant, link, paragraph, type MailTemplate } from './template.ts';

const WORDS = {
  announced: {
    subject: 'An access review begins soon',
    text: 'The next review of who has access to what begins by itself on the day below. An owner can begin it earlier.',
  },
  started: {
    subject: 'An access review has begun',
    text: 'A review of who has access to what has begun, and items of it wait for your decision: keep, change or take away.',
  },
  reminder: {
    subject: 'Items of the access review wait for you',
    text: 'Items of the review of who has access to what still wait for your decision.',
  },
  overdue: {
    subject: 'The access review is overdue',
    text: 'The review of who has access to what should be finished by now, and items of it still wait for your decision.',
  },
};

/** To whoever decides in a review of access. */
export const accessReview: MailTemplate<{
  news: 'announced' | 'started' | 'reminder' | 'overdue';
  /** Items that wait for this person. */
  count: number;
  /** RFC 3339: by when all is to be decided, or when it begins. */
  dueAt: string;
  /** Where it is; left out where nobody knows under which name people reach the appliance. */
  url?: string;
}> = {
  title: 'Access review',
  compose: (data, { applianceName }) => ({
    subject: `${WORDS[data.news].subject} (${applianceName})`,
    blocks: [
      paragraph(WORDS[data.news].text),
      data.news === 'announced'
        ? facts(['Begins', instant(data.dueAt)])
        : facts(['Items for you', String(data.count)], ['Due', instant(data.dueAt)]),
      data.url === undefined
        ? paragraph('Open Access reviews in the console, or follow the notice at the top of its pages.')
        : link('Open the review', data.url),
    ],
  }),
};
