import { useId, useState } from 'react';
import { signIn, signUp, tell } from './session.js';

/** A form that shows what the server has against its input, each at the field that is at fault; one on demand, only then. */
function Form({ fields, submit, onDone, label }) {
  const [errors, setErrors] = useState([]);
  const [isBusy, setBusy] = useState(false);
  const id = useId();
  const onSubmit = async (event) => {
    event.preventDefault();
    setBusy(true);
    const input = Object.fromEntries([...new FormData(event.target)].filter(([, text]) => text));
    const found = await submit(input);
    setBusy(false);
    setErrors(found);
    if (!found.length) onDone();
  };
  const at = (name) => errors.filter(({ field }) => field?.[0] === name);
  const others = errors.filter(({ field }) => !fields.some(({ name }) => name === field?.[0]));
  return (
    <form onSubmit={onSubmit}>
      {fields.filter(({ name, onDemand }) => !onDemand || at(name).length).map(({ label, name, onDemand, ...input }) => (
        <label key={name}>
          {label}
          <input name={name} aria-invalid={at(name).length > 0} aria-describedby={`${id}-${name}`} {...input} />
          <span id={`${id}-${name}`} className="problem">{at(name).map(({ message }) => message).join(' ')}</span>
        </label>
      ))}
      <p className="problem" role="alert">{others.map(({ message }) => message).join(' ')}</p>
      <button className="primary" disabled={isBusy}>{label}</button>
    </form>
  );
}

const SIGN_IN = [
  { name: 'login', label: 'E-mail address or username', autoComplete: 'username', required: true },
  { name: 'password', label: 'Password', type: 'password', autoComplete: 'current-password', required: true },
  { name: 'code', label: 'Two-factor code, or a recovery code', autoComplete: 'one-time-code', onDemand: true },
];

export const SignInForm = ({ onDone }) => (
  <Form fields={SIGN_IN} submit={({ login, password, code }) => signIn(login, password, code)} onDone={onDone} label="Sign in" />
);

const SIGN_UP = [
  { name: 'name', label: 'Your name', autoComplete: 'name', required: true },
  { name: 'email', label: 'E-mail address', type: 'email', autoComplete: 'email', required: true },
  { name: 'password', label: 'Password, 8 characters or more', type: 'password', autoComplete: 'new-password', required: true },
  { name: 'accountName', label: 'Name of your account (optional)', autoComplete: 'organization' },
];

export function SignUpForm({ dev, onDone }) {
  const submit = async (input) => {
    const errors = await signUp(input);
    const where = dev ? 'It is in the mailbox.' : 'It is on its way to your mailbox.';
    if (!errors.length) tell(`Welcome. Open the link in the e-mail to ${input.email} before you invite anyone. ${where}`);
    return errors;
  };
  return <Form fields={SIGN_UP} submit={submit} onDone={onDone} label="Sign up" />;
}
