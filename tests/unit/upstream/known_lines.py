# ruff: noqa: E501 - the lines are those of the document
"""Which case shows what becomes of each line of ``docs/upstream.md``.

The key is a line's first column, or so much of its beginning that no other line begins alike. What shows it is a label
of ``wire_cases``, the name of a fault (``tests/faults``), or ``file::test``.
"""

CLIENT = "tests/unit/upstream/test_client.py"
CONNECTION = "tests/unit/upstream/test_connection.py"
ERRORS = "tests/unit/upstream/test_errors.py"
TEXTS = "tests/api/test_error_texts.py"
WEBHOOK = "tests/api/test_webhook.py"

LINES: dict[str, list[str]] = {
    # which ids are answered
    "an unknown id is answered with `Сообщение": [
        "the sentence for an unknown id in place of the state",
        "one sentence among states",
        f"{TEXTS}::test_a_stream_ends_for_a_message_that_a_sentence_says_is_unknown",
    ],
    "the same text as `error` of an entry": ["the sentence for an unknown id as an error of the entry"],
    "the same text for the whole request": [
        "the sentence for an unknown id in an object",
        "the sentence for an unknown id without an id, alone",
        "refuses arrays that hold an unknown id, and says so",
    ],
    "an unknown id is left out of the reply": [
        "one left out",
        "an entry without state",
        "leaves unknown ids out, and 30 of 100 are unknown",
    ],
    "an entry has an `error` of its own": ["an entry with its own error"],
    "an unknown id makes the platform refuse the whole array": [
        "a 400 for the whole array",
        "refuses arrays that hold a certain id",
    ],
    "one id empties the whole reply": [
        "no body",
        "a body of white space",
        "null",
        "answers arrays that hold a certain id with an empty body",
    ],
    "every reply is empty": [
        "answers everything with an empty body",
        "tests/unit/lookup/test_empty_replies.py::test_an_empty_reply_to_one_id_under_no_suspicion_counts",
    ],
    "a long array is not answered whole": [
        "only the first is answered",
        "answers only the first entry of an array",
    ],
    "the reply has another order": ["another order"],
    "an id stands in the reply twice": ["an id twice, newer first", "an id twice, an error last"],
    "an id that nobody asked for": ["an id that nobody asked for"],
    "an entry without a readable `id_sms`": ["an entry without id: whose it is cannot be said", "an id in words"],
    "statistics older than three months": ["an entry with its own error", "one left out"],
    # how values are written
    "numbers as strings": ["an id beyond 32 bits, as a string", "parts and price as strings"],
    "a comma in the price, an exponent": ["a comma in the price", "a price with an exponent"],
    "`time_change_state` as `null`": ["a null time", "an empty time", "a zero time", "no time"],
    "`time` in place of `time_change_state`": ["time in place of time_change_state"],
    "a `T` in the time": ["tests/unit/upstream/test_values.py::test_close_spellings_of_a_time_are_read"],
    "a time, number of parts or price that cannot be read": [
        "a price that is no number",
        "words for numbers",
        "a day that is not there",
    ],
    "PHP writes an array with a gap": ["an array with a gap, as an object"],
    "PHP writes an array of one": ["an array of one, as its entry"],
    "PHP writes no entries": ["no entries, as an object"],
    # states
    "the words of SMPP": ["the word DELIVRD, as it is", "the word new, in capitals", "the word REJECTD, with blanks"],
    "a documented word in another case": ["the word read, in capitals", "the word deliver, with blanks"],
    "a new state": ["a new state", "a new state with blanks around"],
    "anything else in the place of the state": ["another sentence in place of the state", "a sentence in the old code page"],
    "a state that is not a string": ["a state as a number", "a state without end"],
    # how the reply arrives
    "any `Content-Type`": [f"{CLIENT}::test_any_content_type_of_a_reply_is_read"],
    "a byte-order mark": ["a byte-order mark"],
    "bytes that are not UTF-8": ["Russian in the old code page"],
    "compressed although": [f"{CLIENT}::test_a_compressed_reply_is_read_although_nobody_asked_for_one"],
    "`Content-Encoding: utf-8`": [f"{CLIENT}::test_an_encoding_that_there_is_not_stands_on_a_plain_body"],
    "larger than 8 MiB": [
        "truncated",
        "more parts than anybody needs",
        "deep nesting",
        f"{CLIENT}::test_eight_mebibytes_are_read_and_one_byte_more_is_not",
    ],
    "PHP warnings before the array": ["a PHP warning before the JSON"],
    "headers of 20 kB": [f"{CONNECTION}::test_a_large_head_is_read"],
    "a head of more than 64 KiB": [
        f"{CONNECTION}::test_a_head_of_more_than_64_kib_is_no_reply",
        f"{CONNECTION}::test_a_flood_of_heads_is_no_reply_and_takes_little_memory_and_nobodys_time",
        "sends headers without end",
    ],
    "bytes beyond the announced body": [
        f"{CONNECTION}::test_bytes_beyond_the_announced_body_are_no_part_of_any_answer"
    ],
    "a load balancer that moves": [
        f"{CONNECTION}::test_a_connection_that_brought_no_answer_is_not_used_again",
        f"{CONNECTION}::test_after_sixty_seconds_the_name_is_looked_up_again_although_the_old_node_answers",
    ],
    "a redirect": [f"{CLIENT}::test_a_redirect_is_not_followed", "redirects (302)"],
    "another 4xx, a 5xx": ["a page with a 403", "an unknown text with a 500"],
    "a cookie": [f"{CLIENT}::test_the_connection_is_kept_for_the_next_request_and_cookies_are_not_sent_back"],
    # error texts
    "another case, other spaces": [
        "another case, a full stop",
        f"{ERRORS}::test_every_wording_is_recognised_whatever_its_spelling",
    ],
    "Russian forms": [
        "“Неправильный логин или пароль” as an object, 400",
        "“Неправильный формат JSON документа” as an object, 200",
        "“POST данные отсутствуют” as an entry, 400",
    ],
    "other wordings": [
        "“Неверный логин или пароль” as an object, 200",
        "“Неправильный логин или” as an object, 403",
        "“Аккаунт заблокирован.” as an entry, 500",
        "“Ваш аккаунт заблокирован” as a state, 401",
    ],
    "a text about the whole request with `логин`": [
        "an unknown text that speaks of the login",
        "an unknown text that speaks of the password",
    ],
    "a text about the whole request with `заблокир`": ["an unknown text that speaks of a lock", "a text of locks and logins"],
    "the same fragments in the text of one entry": [
        "another sentence in place of the state",
        "an English sentence in place of the state",
        f"{TEXTS}::test_one_message_that_speaks_of_locks_and_logins_locks_nobody_out",
    ],
    "credentials or a lock in a known wording in one entry": [
        "an error for one of two",
        "credentials for each entry",
        "rejects the credentials entry by entry",
    ],
    "an error object with status 200": ["an error with status 200", "an error in the array of a 400"],
    "an error text with status 401, 403 or 500": [
        "“Incorrect login or password” as an object, 500",
        "an unknown text with a 500",
        "a lock in an unknown text with a 500",
    ],
    "a 401 without a known text": ["no text with a 401", "an unknown text with a 401", "answers 401"],
    "a text that nobody has seen": ["the documented error"],
    "a 400 without JSON": ["a 400 without JSON", "a 400 without error"],
    "a text with control characters": [
        f"{ERRORS}::test_a_message_loses_control_characters_and_surplus_blanks",
        f"{ERRORS}::test_a_message_that_holds_a_credential_is_withheld_whatever_its_spelling",
        f"{CONNECTION}::test_8_mib_of_whatever_take_little_memory_and_nobodys_time",
    ],
    "an error text for one id, for as long": [
        f"{TEXTS}::test_an_error_text_of_one_message_is_kept_like_an_unknown_id",
        "says something else in place of a state",
    ],
    # limits
    "a limit on requests": ["no text with a 429", "throttles (429, `Retry-After: 7`)"],
    "the same request twice within a minute": [
        "“Попытка отправки более одного одинакового запроса в течение минуты” as an object, 200",
        "refuses the same request twice within a minute",
    ],
    "more than five requests at a time": ["is overrun tenfold: 200 callers in an instant, where 10 ids take 0.1 s and 40 may wait"],
    "repeated wrong passwords": ["rejects the credentials"],
    # webhook
    "`time`, or `time_change_state` in its place": [
        f"{WEBHOOK}::test_the_documented_delivery_is_taken_and_acknowledged_as_documented",
        f"{TEXTS}::test_a_webhook_in_smpps_words_tells_nothing_new_of_what_a_poll_has_told",
    ],
    "the state in SMPP's words": [f"{TEXTS}::test_a_poll_and_a_webhook_in_smpps_words_give_the_documented_one"],
    "a sentence in the place of the state": [f"{TEXTS}::test_a_sentence_in_a_webhook_is_no_report"],
    "a bare entry, or an object of entries": [f"{TEXTS}::test_a_webhook_in_phps_shapes_is_read"],
}  # fmt: skip
