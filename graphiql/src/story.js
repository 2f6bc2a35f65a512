// The tabs that GraphiQL opens with: Keyholder's story in its order. An id that is "" is looked up for who is signed in.
import answer from './tabs/Answer.graphql?raw';
import askClients from './tabs/AskClients.graphql?raw';
import auditLog from './tabs/AuditLog.graphql?raw';
import explain from './tabs/Explain.graphql?raw';
import invite from './tabs/Invite.graphql?raw';
import listen from './tabs/Listen.graphql?raw';
import people from './tabs/People.graphql?raw';
import roleMatrix from './tabs/RoleMatrix.graphql?raw';
import switchAccount from './tabs/Switch.graphql?raw';
import whoAmI from './tabs/WhoAmI.graphql?raw';

const tab = (query, variables) => ({ query: query.trim(), variables: variables && JSON.stringify(variables, null, 2) });

export const tabs = [
  tab(whoAmI),
  tab(people),
  tab(invite, {
    emails: ['sam.ortega@bright-harbor.example', 'lin.zhou@bright-harbor.example'],
    level: 'AUTHOR',
    message: 'Welcome aboard! Your first drafts are due on Friday.',
  }),
  tab(askClients, {
    emails: ['owner@willow-bakery.example'],
    level: 'AUTHOR',
    message: 'As agreed on the phone, we would like to get to work in your account.',
  }),
  tab(listen),
  tab(answer, { connectionId: '', level: 'AUTHOR' }),
  tab(switchAccount, { accountId: '' }),
  tab(explain),
  tab(auditLog),
  tab(roleMatrix, { area: 'ACCOUNT' }),
];
