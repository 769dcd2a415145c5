"""Which tests outside this folder prove which rows of docs/reference/faults.md."""

from __future__ import annotations

__all__ = ["ELSEWHERE"]

ENDINGS = "tests/pipeline/test_endings.py::"
CANCEL = "tests/pipeline/test_stream_and_cancel.py::"
CONFIG = "tests/pipeline/test_jobs_and_config.py::"
RESERVE = "tests/pipeline/test_reserve.py::"
ROUTES = "tests/pipeline/test_routes.py::"
MAIN = "tests/pipeline/test_the_main_job.py::"
MIXED = "tests/pipeline/test_interleavings.py::"
BUDGET = "tests/policy/test_budget.py::"
REGISTRY = "tests/models/test_registry.py::"
OPENING = "tests/checkpoint/test_opening.py::"
RECOVERING = "tests/checkpoint/test_recovering.py::"
KILLING = "tests/checkpoint/test_killing.py::"
FULL = "tests/checkpoint/test_full_disk.py::"
VERIFY = "tests/checkpoint/test_export_and_verify.py::"
NAMES = "tests/checkpoint/test_file_names.py::"
TAKING = "tests/checkpoint/test_taking.py::"
SLOT = "tests/checkpoint/test_one_slot.py::"
BACKEND = "tests/backend/"
JOB = "tests/test_job.py::"
FILTERS = "tests/filters/"
DISK = "tests/checkpoint/"
STEPS = DISK + "test_faults.py::test_a_step_that_fails_is_a_sentence_and_nothing_is_lost"
CREATION = "tests/pipeline/batch/test_creation.py::"
ENDS = "tests/pipeline/batch/test_ends_of_jobs.py::"
LINES = "tests/pipeline/batch/test_lines.py::"
BACK = "tests/pipeline/batch/test_coming_back.py::"
ROUNDS = "tests/pipeline/batch/test_rounds.py::"
BATCH_LIFE = "tests/crash/test_batch_life.py::"
UNRULY = "tests/pipeline/test_filters_that_misbehave.py::"

ELSEWHERE = {
    "N11": (BACKEND + "test_limits.py::test_a_redirect_is_never_followed",),
    "N14": (
        BACKEND
        + "test_one_request.py::test_every_fault_is_one_request_and_no_redirect_is_followed",
        BACKEND + "test_one_request.py::test_it_is_one_request_without_aiohttp_too",
    ),
    "N18": (
        BACKEND
        + "test_limits.py::test_an_endless_body_is_cut_at_64_mib_without_filling_the_memory",
        BACKEND + "test_limits.py::test_an_endless_error_is_an_error_after_64_kib",
    ),
    "N31": (FILTERS + "test_container.py::test_an_image_cut_at_any_byte_has_a_fault",),
    "P1": (
        KILLING + "test_killed_at_every_step_of_two_images_nothing_is_lost",
        CANCEL + "test_after_a_kill_nothing_accepted_is_lost_and_the_rest_is_visibly_unknown",
    ),
    "P2": (
        KILLING + "test_killed_at_every_step_of_recovering_nothing_is_lost",
        RECOVERING + "test_recovering_again_and_again_changes_nothing",
    ),
    "P3": (CANCEL + "test_ctrl_c_ends_a_sync_run_in_order_and_it_goes_on_later",),
    "P4": (CANCEL + "test_a_stalled_call_is_unknown_money_when_the_second_signal_does_not_wait",),
    "P5": (
        CANCEL + "test_cancelling_waits_for_calls_in_flight_and_saves_them",
        BACKEND + "test_limits.py::test_cancellation_is_not_turned_into_an_error",
    ),
    "P7": (
        ENDINGS + "test_a_filter_that_fails_keeps_the_image_and_buys_no_other",
        ENDINGS + "test_ten_filter_failures_in_a_row_end_the_run_with_the_filters_error",
    ),
    "P10": (
        UNRULY + "test_a_crash_or_hang_in_native_code_keeps_the_image_for_the_next_run",
        FILTERS + "test_isolated.py::test_a_crash_is_the_filters_error_and_the_next_verdict_comes",
    ),
    "P12": (
        FILTERS + "test_protocol.py::test_what_is_no_verdict_is_the_filters_error",
        UNRULY + "test_a_filter_that_leaves_the_program_ends_its_verdict_only",
    ),
    "P15": (
        OPENING + "test_a_closed_checkpoint_says_so_whatever_is_asked",
        BACKEND + "test_gemini.py::test_a_closed_backend_says_how_to_open_it",
        MIXED + "test_one_open_checkpoint_takes_one_run_at_a_time",
    ),
    "P16": (CONFIG + "test_a_million_jobs_are_never_read_ahead",),
    "D1": (
        FULL + "test_an_image_that_does_not_fit_is_an_error_and_its_call_stays_unknown_money",
        FULL + "test_an_image_that_cannot_be_linked_stays_staged",
    ),
    "D2": (FULL + "test_a_ledger_that_cannot_grow_is_an_error_and_keeps_what_was_accepted",),
    "D3": (FULL + "test_a_failing_fsync_is_an_error_and_is_not_tried_again_on_the_same_file",),
    "D4": (
        DISK + "test_disk_errors.py::"
        "test_after_an_io_error_the_database_is_closed_for_good_and_says_so",
    ),
    "D5": (STEPS,),
    "D6": (OPENING + "test_a_read_only_medium_is_a_sentence_for_readers_and_writers",),
    "D7": (STEPS,),
    "D8": (
        DISK + "test_descriptors.py::"
        "test_an_answer_is_staged_settled_and_accepted_out_of_the_reserve",
        STEPS,
    ),
    "D10": (
        OPENING + "test_a_damaged_ledger_is_a_sentence_and_no_new_start",
        OPENING + "test_the_database_of_another_program_is_refused_and_left_as_it_is",
    ),
    "D11": (OPENING + "test_a_reader_rolls_back_what_a_killed_writer_left_half_done",),
    "D12": (OPENING + "test_images_without_their_ledger_are_refused_and_not_taken_for_strangers",),
    "D13": (VERIFY + "test_a_changed_and_a_missing_file_are_found_and_named",),
    "D14": (VERIFY + "test_a_changed_and_a_missing_file_are_found_and_named",),
    "D15": (SLOT + "test_the_ledger_cannot_be_edited_even_by_hand",),
    "D16": (
        OPENING + "test_a_second_writer_is_refused_and_told_who_has_it_and_a_killed_one_frees_it",
    ),
    "D17": (
        OPENING + "test_a_second_writer_is_refused_and_told_who_has_it_and_a_killed_one_frees_it",
    ),
    "D20": (
        NAMES + "test_odd_ids_get_files_of_their_own_on_every_file_system",
        NAMES + "test_any_id_gives_a_safe_name",
    ),
    "D23": (OPENING + "test_a_newer_layout_is_refused_and_left_as_it_is",),
    "M2": (RESERVE + "test_an_answer_above_its_worst_case_is_booked_and_raises_the_reserve",),
    "M5": (
        BUDGET + "test_what_is_no_amount_is_refused",
        BUDGET + "test_leaving_it_out_is_an_error_and_unlimited_is_said",
    ),
    "M6": (
        BUDGET + "test_many_calls_at_once_never_pass_the_limit",
        MAIN + "test_a_budget_of_two_dollars_is_used_and_never_passed",
    ),
    "M7": (ENDINGS + "test_a_refused_reservation_sends_nothing",),
    "M8": (ENDINGS + "test_a_raised_budget_goes_on_where_the_last_one_ended",),
    "M11": (CONFIG + "test_an_unknown_price_is_an_error_before_anything_is_sent",),
    "M14": (
        ROUTES + "test_a_paid_filter_is_in_the_ledger_and_under_the_budget",
        RESERVE + "test_a_paid_filter_that_fails_is_unknown_money_at_its_worst_case",
    ),
    "M15": ("tests/models/test_money.py::test_the_largest_amount_fits_sixty_four_bits",),
    "F1": (REGISTRY + "test_broken_toml_is_answered_with_its_line",),
    "F2": (REGISTRY + "test_a_mistake_is_answered_with_file_key_and_remedy",),
    "F3": (REGISTRY + "test_a_mistake_is_answered_with_file_key_and_remedy",),
    "F4": (CONFIG + "test_a_pipeline_refuses_what_cannot_be_meant",),
    "F5": (
        BACKEND + "test_request.py::test_the_prompt_is_sent_byte_for_byte",
        JOB + "test_a_job_that_makes_no_sense_is_refused",
    ),
    "F6": (
        CONFIG + "test_a_million_jobs_are_never_read_ahead",
        CONFIG + "test_an_error_of_the_callers_iterator_comes_out_bare_after_saving",
    ),
    "F7": (CONFIG + "test_two_jobs_with_one_id_are_an_error",),
    "F8": (
        CONFIG + "test_a_changed_prompt_under_an_accepted_id_is_refused_and_loses_nothing",
        CONFIG + "test_a_changed_prompt_without_accepted_images_is_a_new_attempt",
    ),
    "F10": (NAMES + "test_odd_ids_get_files_of_their_own_on_every_file_system",),
    "F11": (
        CONFIG + "test_a_job_no_model_can_make_is_an_error_before_anything_is_sent",
        TAKING + "test_a_changed_reference_is_a_changed_picture",
    ),
    "F12": (
        CONFIG + "test_a_missing_key_is_said_before_anything_is_written_down_as_sent",
        BACKEND + "test_gemini.py::test_which_key_is_sent",
        BACKEND
        + "test_secrets.py::test_a_key_that_no_header_can_carry_is_refused_without_showing_it",
        REGISTRY + "test_a_mistake_is_answered_with_file_key_and_remedy",
    ),
    "F13": (
        JOB + "test_jsonl_holds_one_job_a_line",
        JOB + "test_bytes_that_are_no_text_are_answered_with_their_line",
    ),
    "F14": (
        FILTERS + "test_catalogue.py::test_a_filter_that_cannot_be_had_is_an_error_that_says_why",
        FILTERS
        + "test_catalogue.py::test_a_name_two_packages_claim_is_listed_with_both_and_not_loaded",
    ),
    "F15": (
        CONFIG + "test_a_pipeline_refuses_what_cannot_be_meant",
        JOB + "test_a_job_that_makes_no_sense_is_refused",
    ),
    "M13": (
        ROUNDS + "test_drafts_are_finished_by_a_second_batch_job",
        BACK + "test_what_is_on_its_way_counts_against_the_budget_of_the_next_run",
    ),
    "B1": (
        CREATION + "test_a_job_whose_creation_got_no_answer_is_found_by_its_name",
        CREATION + "test_a_job_that_is_never_found_is_unknown_money_and_drawn_anew",
        BATCH_LIFE + "test_killed_while_the_answer_to_create_is_on_the_wire_the_job_is_found",
    ),
    "B2": (
        CREATION + "test_of_two_jobs_of_one_creation_the_older_counts_and_the_newer_is_cancelled",
    ),
    "B3": (
        BATCH_LIFE + "test_killed_at_any_step_of_a_batch_jobs_life_nothing_is_bought_twice_or_lost",
    ),
    "B4": (
        BATCH_LIFE + "test_killed_at_any_step_of_a_batch_jobs_life_nothing_is_bought_twice_or_lost",
        BATCH_LIFE + "test_killed_again_while_it_recovers_nothing_is_bought_twice_or_lost",
    ),
    "B5": (
        ENDS + "test_a_job_that_brings_nothing_costs_nothing_and_its_slots_are_ordered_again",
        ENDS + "test_a_job_that_is_stuck_is_cancelled_and_its_wants_go_on",
    ),
    "B6": (
        ENDS + "test_a_job_that_brings_nothing_costs_nothing_and_its_slots_are_ordered_again",
        LINES + "test_a_passing_fault_of_a_line_is_ordered_again",
        LINES + "test_a_bad_request_in_a_line_fails_its_job",
    ),
    "B7": (
        ENDS + "test_of_a_job_cancelled_by_somebody_else_the_results_are_collected",
        ENDS + "test_of_a_job_cancelled_by_somebody_else_without_results_the_money_is_unknown",
    ),
    "B8": (
        LINES + "test_of_lines_that_come_twice_the_first_counts_and_the_second_is_kept",
        LINES + "test_lines_of_nobody_are_kept_and_not_judged",
        LINES + "test_a_line_that_is_missing_is_unknown_money_and_its_slot_is_drawn_anew",
        LINES + "test_a_missing_line_is_free_if_the_jobs_own_count_says_so",
    ),
    "B9": (LINES + "test_a_line_that_cannot_be_read_is_kept_and_its_money_unknown",),
    "B11": (LINES + "test_faults_of_free_requests_are_waited_out",),
    "B12": (
        LINES + "test_faults_of_free_requests_are_waited_out",
        BACKEND + "test_batch_download.py::test_what_broke_off_goes_on_where_it_broke_off",
    ),
    "B13": (BACK + "test_results_that_are_gone_are_unknown_money_and_drawn_anew",),
    "B14": (BACK + "test_a_key_that_does_not_know_the_job_ends_the_run_and_buys_nothing",),
    "B15": (
        BACKEND + "test_batch_operation.py::test_an_unknown_state_is_running_and_says_so_once",
    ),
    "B16": (
        CREATION + "test_a_limit_on_jobs_at_once_is_waited_for_and_nothing_is_lost",
        BACK + "test_a_run_is_left_in_time_also_while_the_provider_takes_no_further_job",
    ),
    "B17": (
        BACK + "test_a_pipeline_that_orders_nothing_collects_what_is_on_its_way",
        BACK + "test_a_backend_without_a_batch_service_is_refused_while_jobs_are_on_their_way",
    ),
}
"""Rows of the page, and the tests that prove them."""
