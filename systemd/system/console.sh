#!/bin/bash
# The menu at the machine: on a screen with whiptail, on a serial line (or without whiptail) line by line.
# Nothing in it runs what somebody typed: words go on standard input to console.ts, which asks hostd for fixed verbs.
# usage: console.sh [root folder, for tests]
set -u
root=${1:-/}
line=${CONSOLE_LINE:-tty1}
here=$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd)
serial=''
case $line in ttyS* | ttyAMA* | hvc*) serial=--serial ;; esac
if [ -n "$serial" ]; then export TERM=vt220; else export TERM=${TERM:-linux}; fi
export LC_ALL=C.UTF-8
# Without whiptail, or where somebody asks for it, the screen is read line by line too.
plain=$serial${PLAIN:-}
command -v whiptail > /dev/null || plain=yes
# The keyboard ends nothing here.
trap '' INT QUIT TSTP

# In a session of its own: Node takes Ctrl-C and Ctrl-Z again where its parent ignores them, and would end in the middle of an act.
tell() { setsid --wait "$here/node_modules/.bin/node" --max-semi-space-size=1 "$here/server/console.ts" "$@" $serial --root="$root" 2> /dev/null; }

# choose TITLE TEXT KEY WORDS…: the key that was chosen, or nothing; status 7 when the line was hung up.
choose() {
  local title=$1 text=$2
  shift 2
  if [ -z "$plain" ]; then
    whiptail --nocancel --title "$title" --menu "$text" 24 100 $(($# / 2)) "$@" 3>&1 1>&2 2>&3
    return
  fi
  printf '\n%s\n%s\n' "$title" "$text" >&2
  local number=0 i
  local keys=()
  for ((i = 1; i <= $#; i += 2)); do
    number=$((number + 1))
    keys+=("${!i}")
    local next=$((i + 1))
    printf '  %d  %s\n' "$number" "${!next}" >&2
  done
  printf 'Number: ' >&2
  local typed
  IFS= read -r typed || exit 7
  if [[ $typed =~ ^[0-9]{1,2}$ ]] && ((10#$typed >= 1 && 10#$typed <= number)); then printf '%s' "${keys[10#$typed - 1]}"; fi
}

# ask WORDS BEFORE: one line.
ask() {
  if [ -z "$plain" ]; then
    whiptail --inputbox "$1" 10 90 "$2" 3>&1 1>&2 2>&3
    return
  fi
  local typed
  printf '%s [%s]: ' "$1" "$2" >&2
  IFS= read -r typed || exit 7
  printf '%s' "${typed:-$2}"
}

# The same without showing what is typed.
ask_secret() {
  if [ -z "$plain" ]; then
    whiptail --passwordbox "$1" 10 90 3>&1 1>&2 2>&3
    return
  fi
  local typed
  printf '%s: ' "$1" >&2
  IFS= read -r -s typed || exit 7
  printf '\n' >&2
  printf '%s' "$typed"
}

show() {
  if [ -z "$plain" ]; then
    whiptail --scrolltext --title "$1" --msgbox "$2" 24 100
    return
  fi
  printf '\n%s\n%s\n' "$1" "$2"
}

# agree WORDS: nothing happens without it.
agree() {
  if [ -z "$plain" ]; then
    whiptail --defaultno --yesno "$1" 10 90
    return
  fi
  local typed
  printf '%s Type yes: ' "$1"
  IFS= read -r typed || exit 0
  [ "$typed" = yes ]
}

change_network() {
  local method settings
  method=$(choose 'Network' "$(tell network)" \
    static 'Give it an address' dhcp 'Take an address from the network (DHCP)' \
    names 'Host name, time servers, proxy, management networks' back 'Back')
  case $method in
    static)
      settings="method=static
addresses=$(ask 'Address with prefix, such as 192.0.2.10/24 (several with spaces)' '')
gateways=$(ask 'Gateway' '')
nameServers=$(ask 'Name servers' '')"
      ;;
    dhcp) settings='method=dhcp' ;;
    names)
      settings="hostName=$(ask 'Host name' "$(hostname)")
timeServers=$(ask "Time servers (empty: Debian's pool)" '')
proxy=$(ask 'Proxy, such as http://proxy.example:3128 (empty: none)' '')
managementNetworks=$(ask 'Networks that may open the pages, such as 10.0.0.0/8 (empty: everywhere)' '')"
      ;;
    *) return ;;
  esac
  local said
  if ! said=$(printf '%s\n' "$settings" | tell network-set); then
    show 'Not changed' "$said"
    return
  fi
  # Whoever does not answer within a minute gets the old settings back.
  if agree "$said
Keep these settings?"; then said=$(tell network-confirm); else said=$(tell network-give-up); fi
  show 'Network' "$said"
}

show_log() {
  local lines
  # Structured lines of our services: time, what wrote it, what it says. No page of a pager, which could start a shell.
  lines=$(journalctl --no-pager --quiet --boot --lines=200 --output=short-iso SYSLOG_IDENTIFIER=node + _PID=1 + _TRANSPORT=kernel 2> /dev/null |
    tr -d '\000-\010\013-\037\177' | cut -c 1-300)
  show 'Log' "${lines:-There is none}"
}

open_shell() {
  agree 'A shell has all rights on this machine. Opening it stands in the audit log.' || return
  local key said
  key=$(ask_secret 'Recovery key of the volume (empty when the owner has agreed to a shell)')
  said=$(printf '%s\n' "$key" | tell shell "$line") || show 'Refused' "$said"
}

renew_code() {
  if [ -n "$serial" ]; then
    show 'Not here' 'A claim code is made at the screen of the machine: a serial line may be kept as a log.'
    return
  fi
  show 'Claim code' "$(tell claim-code)"
}

while :; do
  # The first line is the state, the rest is for people.
  summary=$(tell summary)
  state=${summary%%$'\n'*}
  summary=${summary#*$'\n'}
  items=()
  if [ "$state" = locked ]; then items+=(unlock 'Unlock the data volume'); fi
  if [ "$state" = unclaimed ]; then items+=(code 'Make a new claim code'); fi
  if [ "$state" = unclaimed ] || [ "$state" = locked ]; then items+=(lost 'How a lost appliance comes back'); fi
  items+=(look 'Look again' network 'Network, host name, time, proxy' log 'Log' restart 'Restart' shutdown 'Shut down')
  if [ "$state" != locked ]; then items+=(shell 'Break-glass shell'); fi
  choice=$(choose 'Holdfast' "$summary" "${items[@]}")
  # The line was hung up: systemd starts the menu anew.
  if [ $? -eq 7 ]; then exit 0; fi
  case $choice in
    unlock) show 'Unlock' "$(ask_secret 'Passphrase or recovery key' | tell unlock)" ;;
    code) renew_code ;;
    lost) show 'A lost appliance' "$(tell recovery-how)" ;;
    network) change_network ;;
    log) show_log ;;
    restart) agree 'Restart this machine?' && show 'Restart' "$(tell power restart)" ;;
    shutdown) agree 'Shut this machine down?' && show 'Shut down' "$(tell power shutdown)" ;;
    shell) open_shell ;;
    *) ;;
  esac
done
