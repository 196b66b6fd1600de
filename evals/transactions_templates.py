# ruff: noqa: E501
"""The wordings of the transaction questions: fourteen a category, each one a statistical cluster.

A template's place in its tuple decides where it may be used (see `evals.transactions.templates`):
0–8 training and evaluation, 9 evaluation only, 10–13 training and calibration. Append, never
reorder: the id of a template is its place. Two templates of one category share no long run of
words, so that a word-n-gram contamination check between calibration and evaluation stays quiet.

`{slots}` are filled in by `evals.transactions`. A template marked `inverted` asks for the opposite
of its category's rule ("is it allowed?"), so that "yes" does not always mean "fraud".
"""

from typing import NamedTuple


class Template(NamedTuple):
    """One wording. `text` has `{slots}`; `inverted` swaps the two answers of the rule."""

    text: str
    inverted: bool = False


T = Template

TEMPLATES: dict[str, tuple[Template, ...]] = {
    "impossible_travel": (
        T(
            "{name}'s card paid {first} and {second}. The cities are {km} km apart. Nobody travels faster than {speed} km/h. Is this travel impossible?"
        ),
        T(
            "A card was used {first}, then {second}. Distance: {km} km. Top speed of any traveller: {speed} km/h. Is the second payment too early to be real?"
        ),
        T(
            "Two swipes of one card: {first} and {second}, {km} km away. At no more than {speed} km/h, can one person have made both?",
            inverted=True,
        ),
        T(
            "Rule: block a card that moves faster than {speed} km/h. {name} bought something {first} and {second}, {km} km further on. Block it?"
        ),
        T(
            "Terminal log: {first}; {second}. Separation {km} km. Would the holder have had to exceed {speed} km/h?"
        ),
        T(
            "{name} swears both payments are genuine: one {first}, one {second}. Between them lie {km} km, and planes make {speed} km/h. Is that possible?",
            inverted=True,
        ),
        T(
            "Could not be the same person if the speed is above {speed} km/h. The card appeared {first} and {second}; the map says {km} km. Is it a case of cloning?"
        ),
        T(
            "Fraud desk: card present {first}, again {second}. Road and air distance {km} km. Fastest trip {speed} km/h. Raise an alarm?"
        ),
        T(
            "With a limit of {speed} km/h, decide whether a trip of {km} km was feasible: {name} paid {first} and {second}. Feasible?",
            inverted=True,
        ),
        T(
            "The same card was seen {first} and {second}. These places are {km} km from each other. If nothing moves faster than {speed} km/h, is it impossible?"
        ),
        T(
            "One card, two shops: {first} and {second}. It is {km} km from shop to shop. Travel above {speed} km/h counts as impossible. Is this impossible?"
        ),
        T(
            "Check the trip of {name}: a purchase {first}, another {second}, {km} km between. Was the needed speed over {speed} km/h?"
        ),
        T(
            "A holder can do {speed} km/h at best. Payments came {first} and {second}, with {km} km to cover. Did the holder have enough time?",
            inverted=True,
        ),
        T(
            "Alert if the implied speed is more than {speed} km/h. Events: {first}; {second}; gap on the map {km} km. Alert?"
        ),
    ),
    "amount_limit": (
        T(
            "{name} has a daily limit of ${limit}. Today there were {charges}. Is the limit exceeded?"
        ),
        T(
            "Today's bookings on the card of {name}: {charges}. The cap is ${limit}. Is the total over the cap?"
        ),
        T(
            "A card may spend ${limit} a day. It shows {charges}. Is everything within the allowance?",
            inverted=True,
        ),
        T("Decline once the sum is more than ${limit}. Sum up {charges}. Decline?"),
        T(
            "Account note: {charges} since midnight; ceiling ${limit}. Has {name} gone above the ceiling?"
        ),
        T(
            "The bank lets {name} pay at most ${limit} before noon. So far: {charges}. Does that respect the rule?",
            inverted=True,
        ),
        T("Add up {charges}. Compare with the threshold of ${limit}. Is the result greater?"),
        T("Credit line ${limit}. Drawn: {charges}. Is the line overdrawn?"),
        T("Would a budget of ${limit} be enough for {charges}?", inverted=True),
        T(
            "The card of {name} allows ${limit} each day. On this day it had {charges}. Is the sum over the limit?"
        ),
        T("Spending rule: no more than ${limit} in total. Seen: {charges}. Is the rule broken?"),
        T(
            "{name} made {charges} this morning, and the maximum is ${limit}. Is the maximum passed?"
        ),
        T("Should the system approve {charges} against a limit of ${limit}?", inverted=True),
        T("Statement for {name}: {charges}. Allowed: ${limit}. Too much?"),
    ),
    "velocity": (
        T(
            "A card was used at {times}. Flag it if at least {k} payments fall in the {w} minutes up to the last one. Flag it?"
        ),
        T(
            "Payments of {name}: {times}. Too fast means {k} or more within the final {w} minutes. Is it too fast?"
        ),
        T(
            "Rule: {k} uses inside {w} minutes, counted back from the newest, lock the card. Uses: {times}. Does the card stay open?",
            inverted=True,
        ),
        T(
            "Time stamps {times}. Looking back {w} minutes from the latest stamp, are there {k} stamps or more?"
        ),
        T(
            "{name} tapped at {times}. Limit of speed: fewer than {k} taps in the last {w} minutes of activity. Is the limit broken?"
        ),
        T(
            "Log: {times}. A burst is {k} entries or more in the closing {w} minutes. Is the log free of a burst?",
            inverted=True,
        ),
        T(
            "Velocity check with window {w} minutes and count {k}, window ending at the last event. Events at {times}. Does it fire?"
        ),
        T(
            "How dense is {times}? Alarm when the last {w} minutes before the final payment, that payment included, hold {k} or more. Alarm?"
        ),
        T(
            "The shop accepts a card unless {k} payments sit in its most recent {w} minutes. With {times}, is the card accepted?",
            inverted=True,
        ),
        T(
            "The card of {name} was used at {times}. Are at least {k} payments in the {w} minutes up to the last payment?"
        ),
        T(
            "Purchases happened at {times}. Within {w} minutes of the last, {k} or more is suspicious. Is this suspicious?"
        ),
        T(
            "Count the swipes among {times} that lie no further than {w} minutes before the last, itself included. Is the count {k} or above?"
        ),
        T(
            "Normal use has fewer than {k} payments per {w} minutes at the end. {name} paid at {times}. Is that normal use?",
            inverted=True,
        ),
        T(
            "Block after {k} payments in {w} minutes, measured at the latest. Clock readings: {times}. Block?"
        ),
    ),
    "structuring": (
        T(
            "{name} deposited {amounts}. Structuring means {k} or more deposits of at least ${floor} but below ${limit}. Is it structuring?"
        ),
        T(
            "Deposits must be reported from ${limit} on. Suspicious: {k} or more of ${floor} and up that stay under it. Seen: {amounts}. Suspicious?"
        ),
        T(
            "Cash book: {amounts}. The pattern to find is {k} or more sums from ${floor} to just under ${limit}. Is the book clean?",
            inverted=True,
        ),
        T(
            "Count deposits that reach ${floor} and miss ${limit}. With {amounts}, are there {k} or more?"
        ),
        T(
            "The reporting line is ${limit}. Just below begins at ${floor}. {name} paid in {amounts}. Were {k} or more just below the line?"
        ),
        T(
            "No report is needed unless {k} or more deposits lie in the band ${floor} to ${limit}, upper end excluded. Deposits {amounts}. May we skip the report?",
            inverted=True,
        ),
        T(
            "Teller notes {amounts}. Smurfing = {k} or more sums in the zone ${floor} up to, not including, ${limit}. Smurfing?"
        ),
        T(
            "Is someone dodging the ${limit} report? Evidence needed: {k} or more deposits not smaller than ${floor} and smaller than it. Deposits: {amounts}. Dodging?"
        ),
        T(
            "An account is fine while fewer than {k} deposits fall between ${floor} and ${limit}. It got {amounts}. Is the account fine?",
            inverted=True,
        ),
        T(
            "{name} paid in {amounts}. It is structuring if {k} or more of the deposits are at least ${floor} but below ${limit}. Is it?"
        ),
        T(
            "Look for {k} or more deposits from ${floor} but under ${limit}. The list is {amounts}. Found?"
        ),
        T(
            "Week of {name}: {amounts}. A deposit is near the threshold if it is ${floor} or more, yet less than ${limit}. Are {k} or more near?"
        ),
        T(
            "We close the case when the band from ${floor} to below ${limit} holds fewer than {k} deposits. Deposits were {amounts}. Close the case?",
            inverted=True,
        ),
        T(
            "Threshold ${limit}, lower edge ${floor}, minimum number {k}. Deposits {amounts}. Is the structuring test positive?"
        ),
    ),
    "card_testing": (
        T(
            "Charges in order: {charges}. Card testing = at least {k} charges under $2 and then a last charge over ${big}. Is it card testing?"
        ),
        T(
            "{name}'s card shows {charges}. A thief first tries {k} or more payments below $2, then ends with one above ${big}. Does this look like a thief?"
        ),
        T(
            "Sequence {charges}. Harmless unless {k} or more are smaller than $2 and the final one is larger than ${big}. Harmless?",
            inverted=True,
        ),
        T(
            "Rule 7: {k} tiny payments (less than $2) before a closing payment of more than ${big} mean a stolen number. Payments: {charges}. Stolen?"
        ),
        T(
            "Were there {k} or more probes under $2, and was the end of the series beyond ${big}? The series: {charges}."
        ),
        T(
            "Merchant view: {charges}. Accept unless probes (below $2) number {k} or more and the last amount tops ${big}. Accept?",
            inverted=True,
        ),
        T(
            "A bot tests cards with {k} or more amounts of less than $2 and cashes out at the end with over ${big}. Is {charges} the work of a bot?"
        ),
        T(
            "Watch the order {charges}. Both needed: minimum {k} micro charges (under $2); last charge exceeding ${big}. Both true?"
        ),
        T(
            "The holder {name} is left alone if the small ones (less than $2) are fewer than {k} or the last is not over ${big}. Given {charges}, left alone?",
            inverted=True,
        ),
        T(
            "The card of {name} had charges of {charges}. It is card testing if at least {k} are under $2 and the last is over ${big}. Is it?"
        ),
        T(
            "In {charges}, find {k} or more amounts under $2 followed at the end by one over ${big}. Found?"
        ),
        T(
            "Pattern: at first {k} or more times less than $2, finally more than ${big}. Data of {name}: {charges}. Does the pattern hold?"
        ),
        T(
            "No fraud unless two things meet: {k} or more charges below $2, and a final charge above ${big}. Charges {charges}. No fraud?",
            inverted=True,
        ),
        T(
            "Test parameters: small is under $2, count {k}, final over ${big}. Input {charges}. Is the test positive?"
        ),
    ),
    "merchant_mismatch": (
        T("{shop} {register}. It sold {items}. Does a sale not fit the trade?"),
        T(
            "Receipt from {shop}: {items}. The merchant {register}. Is something on the receipt wrong for this merchant?"
        ),
        T("{shop} {register}. Booked there: {items}. Is everything typical for it?", inverted=True),
        T(
            "Flag a merchant whose goods differ from its trade. {shop} {register} and invoiced {items}. Flag it?"
        ),
        T("{name} bought {items} at {shop}, which {register}. Is there a mismatch?"),
        T("Is it plausible that {shop}, which {register}, delivered {items}?", inverted=True),
        T(
            "Acquirer audit. Merchant {shop} {register}. Basket: {items}. Does the basket contradict the registration?"
        ),
        T(
            "On paper {shop} {register}. In fact it was paid for {items}. Do paper and fact disagree?"
        ),
        T(
            "{name} asks whether {items} can honestly come from {shop}, which {register}. Can it?",
            inverted=True,
        ),
        T(
            "The merchant {shop} {register}. {name} bought {items} there. Does a sale not fit the merchant?"
        ),
        T("Merchant check: {shop} {register}; sales: {items}. Is any sale out of place?"),
        T("For {items}, {name} paid {shop}. That business {register}. Is this odd?"),
        T("{shop} {register}. Would an inspector find {items} normal there?", inverted=True),
        T("Goods {items}; seller {shop}; the seller {register}. Conflict?"),
    ),
    "exposure": (
        T("Card A: {a}. Card B: {b}. Which card spent more?"),
        T(
            "{name} holds two cards. A was charged {a}; B was charged {b}. On which one is the total higher?"
        ),
        T("Totals wanted. A paid {a}. B paid {b}. Which has the smaller total?", inverted=True),
        T("Loss if both are stolen: {a} on A, {b} on B. Where is the larger loss?"),
        T("Account A lists {a}, account B lists {b}. Which account moved more money?"),
        T("Of two wallets, A with {a} and B with {b}, which one is worth less?", inverted=True),
        T("Compare sums: A = {a}; B = {b}. Which is greater?"),
        T("The branch logged {a} under A and {b} under B. Which letter has the bigger sum?"),
        T(
            "{name} closes the card with less spending. A shows {a}, B shows {b}. Which is closed?",
            inverted=True,
        ),
        T(
            "Card A of {name} was charged {a}. Card B was charged {b}. Which card has the larger total?"
        ),
        T("Spending on A: {a}. Spending on B: {b}. Which is more?"),
        T("Review the card with the higher turnover: A ({a}) or B ({b})?"),
        T("Two claims, A for {a} and B for {b}. Which claim is lower?", inverted=True),
        T("A has {a}. B has {b}. Who leads in dollars?"),
    ),
}

DRILLS: dict[str, Template] = {
    "impossible_travel": T("{first}; {second}; {km} km; {speed} km/h"),
    "amount_limit": T("{charges}; ${limit}"),
    "velocity": T("{times}; {k}; {w}"),
    "structuring": T("{amounts}; {k}; ${floor}; ${limit}"),
    "card_testing": T("{charges}; {k}; ${big}"),
    "merchant_mismatch": T("{shop} {register}; {items}"),
    "exposure": T("{a}; {b}"),
}
"""The bare facts, for training only: a small model learns the rules before the wordings."""
