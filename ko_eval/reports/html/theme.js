// Language and light, for every page. Words come from the data block "words"; nothing is fetched.
"use strict";
const Page = (() => {
  const root = document.documentElement;
  const words = JSON.parse(document.getElementById("words").textContent);
  const listeners = [];
  const remembered = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
  const remember = (name, value) => { try { localStorage.setItem(name, value); } catch { /* as a file */ } };
  const language = () => root.lang;

  /** The word in the language shown, with {places} filled. */
  function word(key, values = {}) {
    if (!Object.hasOwn(words, key)) return key;
    const pair = words[key];
    return pair[language() === "ko" ? 1 : 0].replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
  }

  function speak(to) {
    root.lang = to;
    for (const element of document.querySelectorAll("[data-w]")) {
      for (const part of element.dataset.w.split(";")) {
        const [attribute, key] = part.split(":");
        element.setAttribute(attribute, word(key));
      }
    }
    for (const chart of document.querySelectorAll("[data-en][data-ko]")) {
      chart.setAttribute("aria-label", to === "ko" ? chart.dataset.ko : chart.dataset.en);
    }
    listeners.forEach((tell) => tell());
  }

  function shine(theme) {
    if (theme) root.dataset.theme = theme; else delete root.dataset.theme;
  }

  const dark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  document.getElementById("switch-language").addEventListener("click", () => {
    const to = language() === "ko" ? "en" : "ko";
    remember("ko-eval-language", to);
    speak(to);
  });
  document.getElementById("switch-theme").addEventListener("click", () => {
    const to = dark() ? "light" : "dark";
    remember("ko-eval-theme", to);
    shine(to);
  });
  const theme = remembered("ko-eval-theme");
  shine(theme === "dark" || theme === "light" ? theme : null);
  const chosen = remembered("ko-eval-language");
  speak(chosen === "en" || chosen === "ko" ? chosen : (navigator.language || "en").startsWith("ko") ? "ko" : "en");
  return { word, words, language, onLanguage: (tell) => listeners.push(tell) };
})();
