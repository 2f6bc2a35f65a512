import { useRef, useState } from 'react';

/** What gets the focus when a menu opens; never a button that ends something. */
const FIRST = '[type="search"], .choice, details[open] input';

/** A button that opens a panel. The browser closes it again by Escape or a click elsewhere, and tells screen readers. */
export function Menu({ id, label, title, className, children }) {
  const panel = useRef(null);
  const [isOpen, setOpen] = useState(false);
  const close = () => panel.current?.hidePopover();
  const onToggle = ({ newState }) => {
    setOpen(newState === 'open');
    if (newState === 'open') requestAnimationFrame(() => panel.current?.querySelector(FIRST)?.focus());
  };
  return (
    <>
      <button type="button" className={`menu-button ${className}`} popoverTarget={id} title={title}>
        <span>{label}</span>
        <svg viewBox="0 0 12 12" width="12" height="12" fill="none" stroke="currentColor" strokeWidth="1.6" aria-hidden="true">
          <path d="M2.5 4.5 6 8l3.5-3.5" />
        </svg>
      </button>
      <div id={id} ref={panel} popover="auto" className={`menu ${className}`} onToggle={onToggle}>
        {isOpen && children(close)}
      </div>
    </>
  );
}
