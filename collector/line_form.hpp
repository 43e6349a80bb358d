// The parts of a line that a collector writes: what stands before a record, and logfmt. All of
// them append to a string; what others have written is escaped. Any thread.
#pragma once

#include "source.hpp"

#include <sapwood/level.hpp>

#include <span>
#include <string>
#include <string_view>

namespace sapwood::collector {

/// `[udp 127.0.0.1:40312 host=web app=nginx] `, behind the time and the level that the pipeline
/// writes. No value can end the bracket.
void append_text_head(const source& from, std::span<const note> notes, std::string& to);

/// `name=value`, as it stands there.
void append_text_note(const note& of, std::string& to);

/// `{"time":"2026-11-26T20:46:54.123456789Z","level":"info","from":"http 127.0.0.1:40312",`, and
/// a member for each note.
void append_json_head(const source& from, level importance, std::span<const note> notes,
                      std::string& to);

/// `time=2026-11-26T20:46:54.123456789Z level=info from="http 127.0.0.1:40312" `, and the notes.
void append_logfmt_head(const source& from, level importance, std::span<const note> notes,
                        std::string& to);

/// The members of a valid object as `key=value`, with a space between them. Objects and arrays in
/// it stay JSON, as one value. A key that is one of the head's has `fields.` put before it.
void append_logfmt_members(std::string_view json, std::string& to);

/// A value of any bytes.
void append_logfmt_text(std::string_view text, std::string& to);

/// `2026-11-26T20:46:54.123456789Z`
void append_time(std::string& to);

} // namespace sapwood::collector
