//! Scenarios: a Cutover and a scripted world in, a readable log out, compared with the golden one beside it.
//! `UPDATE_EXPECT=1` rewrites the logs; they are to be read before they are kept.

mod sim;
