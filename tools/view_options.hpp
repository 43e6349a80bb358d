// Options that tail and grep share: which lines, and how they are shown.
#pragma once

#include "line_filter.hpp"
#include "line_printer.hpp"
#include "number_checks.hpp"

#include <CLI/CLI.hpp>

#include <string>

namespace sapwood::tools {

struct view_options {
    filter_options filter;
    bool json = false;
    bool raw = false;
    std::string colour = "auto";

    [[nodiscard]] line_style style() const noexcept {
        return json ? line_style::json : raw ? line_style::raw : line_style::text;
    }

    void add_filter(CLI::App& command) {
        command.add_option("--level", filter.level, "Only records of this level and above")
            ->check(is_empty_word)
            ->option_text("LEVEL");
        command
            .add_option("--where", filter.where,
                        "Only records with this field; with != those without it. May be given "
                        "again, and then all must hold")
            ->option_text("KEY=VALUE")
            ->allow_extra_args(false);
        command
            .add_option("--since", filter.since,
                        "Only records from then on: 2026-11-21, 2026-11-21T22:39:56 (UTC), 10m "
                        "(before now), @1795300796")
            ->check(is_empty_word)
            ->option_text("TIME");
    }

    void add_until(CLI::App& command) {
        command.add_option("--until", filter.until, "Only records before then")
            ->check(is_empty_word)
            ->option_text("TIME");
    }

    void add_style(CLI::App& command) {
        auto* const as_json =
            command.add_flag("--json", json, "Print an object of JSON for each line");
        command.add_flag("--raw", raw, "Print lines as they are, with number and checksum")
            ->excludes(as_json);
        command.add_option("--color,--colour", colour, "Colour levels: auto, always, never")
            ->check(is_no_occasion)
            ->option_text("WHEN");
    }
};

} // namespace sapwood::tools
